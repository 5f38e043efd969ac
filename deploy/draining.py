"""Waiting until stages have processed what lies before them."""

import asyncio
from collections.abc import Callable, Iterable

from deploy.kafka import KafkaAdmin
from deploy.lag import lags, positions, stage_topics
from processors.storage.database import Connection
from schemas.topics import TRACKS

#: As far as each event has its outcome.
RECORDING = ("validate", "identify", "persist", "record-failures")
LOOK_EVERY_S = 0.3

Waiting = Callable[[str, int], None]


async def drain(connection: Connection, admin: KafkaAdmin, stages: Iterable[str], waiting: Waiting) -> None:
    """Return when these stages, one after another, have processed what their topics held when their turn came.

    `waiting` hears the stage and how many records it still has to process.
    """
    reads = await stage_topics(connection)
    for stage in stages:
        ends = await asyncio.to_thread(admin.end_offsets, reads[stage])
        while lag := lags(await positions(connection), ends, {stage: reads[stage]})[stage]:
            waiting(stage, lag)
            await asyncio.sleep(LOOK_EVERY_S)


async def all_stages(connection: Connection) -> list[str]:
    """Every stage in the order of the data, but the archive, which gathers; dispatchers last."""
    return [stage for stage, topics in (await stage_topics(connection)).items() if (stage, topics) != _ARCHIVE]


_ARCHIVE = ("archive", [TRACKS.name])
