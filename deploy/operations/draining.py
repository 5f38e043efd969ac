"""Waiting until stages have processed what lies before them."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import KafkaException

from deploy.kafka import KafkaAdmin
from deploy.operations.lag import lags, positions, stage_topics
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
        before: tuple[int, int] | None = None
        moved_at = time.monotonic()
        while (left := await _left(connection, admin, ends, {stage: reads[stage]})) != (0, 0):
            if left is not None:
                waiting(stage, sum(left))
            if left != before:
                before, moved_at = left, time.monotonic()
            elif time.monotonic() - moved_at > STUCK_AFTER_S:
                raise StuckError(await _why_stuck(connection, stage, left))
            await asyncio.sleep(LOOK_EVERY_S)


async def _left(
    connection: Connection, admin: KafkaAdmin, ends: Mapping[tuple[str, int], int], reads: Mapping[str, list[str]]
) -> tuple[int, int] | None:
    """Of one stage: the records that it has to process; where that is none, those whose outputs may not be in Kafka.
    None where Kafka does not say."""
    (lag,) = lags(await positions(connection), ends, reads).values()
    if lag:
        return lag, 0
    try:
        (lag,) = lags(await asyncio.to_thread(admin.told, reads), ends, reads).values()
    except (KafkaException, TimeoutError):
        return None
    return 0, lag


async def _why_stuck(connection: Connection, stage: str, left: tuple[int, int] | None) -> str:
    if left is None:
        return f"{stage} has processed what lay before it; whether its outputs are there, Kafka does not say"
    lag, unconfirmed = left
    if unconfirmed:
        return (
            f"{stage} has processed what lay before it, but has not told Kafka so: the outputs of {unconfirmed:,} "
            "records may still be on their way; does a worker of it run?"
        )
    cursor = await connection.execute(
        "select topic, partition, stopped from lane_health where stage = %s and stopped is not null", (stage,)
    )
    lanes = [f"\n  {topic}[{partition}] stands still: {why}" for topic, partition, why in await cursor.fetchall()]
    return f"{stage} has {lag:,} records before it and does not move; does a worker of it run?" + "".join(lanes)
