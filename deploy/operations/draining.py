"""Waiting until stages have processed what lies before them."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from deploy.kafka import KafkaAdmin
from deploy.operations.lag import lags, positions, stage_topics, told
from processors.storage.database import Connection
from processors.topology import PIPELINE

#: As far as each event has its outcome.
RECORDING = ("validate", "identify", "persist", "record-failures")
#: Every stage in the order of the data, but the archive, which gathers. Dispatchers are not waited for: a destination
#: that is down must not hold up an operator.
ALL = tuple(stage.name for stage in PIPELINE if stage.name != "archive")
LOOK_EVERY_S = 0.3
#: A stage that does not move for so long has no worker, or stands still.
STUCK_AFTER_S = 60.0

Waiting = Callable[[str, int], None]


class StuckError(ValueError):
    """A stage does not move; the message says which, and what is known about it."""


async def drain(connection: Connection, admin: KafkaAdmin, stages: Iterable[str], waiting: Waiting) -> None:
    """Return when these stages, one after another, have processed what their topics held when their turn came.

    `waiting` hears the stage and how many records it still has to process. Raises StuckError.
    """
    reads = await stage_topics(connection)
    for stage in stages:
        ends = await asyncio.to_thread(admin.end_offsets, reads[stage])
        before, moved_at = -1, time.monotonic()
        while lag := await _lag(connection, admin, ends, {stage: reads[stage]}):
            waiting(stage, lag)
            if lag != before:
                before, moved_at = lag, time.monotonic()
            elif time.monotonic() - moved_at > STUCK_AFTER_S:
                raise StuckError(await _why_stuck(connection, stage, lag))
            await asyncio.sleep(LOOK_EVERY_S)


async def _lag(
    connection: Connection, admin: KafkaAdmin, ends: Mapping[tuple[str, int], int], reads: Mapping[str, list[str]]
) -> int:
    """Of one stage; with the records of which only the outputs are still on their way."""
    (lag,) = lags(await positions(connection), ends, reads).values()
    if not lag:
        (lag,) = lags(await asyncio.to_thread(told, admin, reads), ends, reads).values()
    return lag


async def _why_stuck(connection: Connection, stage: str, lag: int) -> str:
    cursor = await connection.execute(
        "select topic, partition, stopped from lane_health where stage = %s and stopped is not null", (stage,)
    )
    lanes = [f"\n  {topic}[{partition}] stands still: {why}" for topic, partition, why in await cursor.fetchall()]
    return f"{stage} has {lag:,} records before it and does not move; does a worker of it run?" + "".join(lanes)
