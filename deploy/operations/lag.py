"""How far each stage is behind: records that wait before it, and how long the oldest of them has waited."""

import asyncio
import time
from collections.abc import Mapping

from deploy.kafka import KafkaAdmin
from deploy.operations.written import written_at
from deploy.stages import stages_of, topics_of
from processors.storage.database import Connection
from processors.storage.definitions import DefinitionStore
from processors.topology import PIPELINE
from schemas.definitions import DEFINITION
from schemas.definitions.inbound import KafkaBridge
from schemas.definitions.outbound import Destination
from schemas.topics import CATALOGUE

#: (stage, topic, partition)
Lane = tuple[str, str, int]

_TRANSACTIONAL = {topic.name for topic in CATALOGUE if topic.fenced}


async def positions(connection: Connection) -> dict[Lane, int]:
    """(stage, topic, partition) to the next offset."""
    cursor = await connection.execute("select stage, topic, partition, next_offset from stage_progress")
    return {(stage, topic, partition): offset for stage, topic, partition, offset in await cursor.fetchall()}


def lags(
    stored: Mapping[Lane, int], ends: Mapping[tuple[str, int], int], reads: Mapping[str, list[str]]
) -> dict[str, int]:
    """Records that each stage has still to process. A lane without a row has all of its partition before it."""
    found = dict.fromkeys(reads, 0)
    for (stage, _, _), count in waiting(stored, ends, reads).items():
        found[stage] += count
    return found


def waiting(
    stored: Mapping[Lane, int], ends: Mapping[tuple[str, int], int], reads: Mapping[str, list[str]]
) -> dict[Lane, int]:
    """The lanes that have something before them, and how many records."""
    found = {}
    for stage, topics in reads.items():
        for (topic, partition), end in ends.items():
            # The last offset of a topic written in transactions is the marker that ends the last of them.
            last = end - 1 if topic in _TRANSACTIONAL else end
            count = last - stored.get((stage, topic, partition), 0)
            if topic in topics and count > 0:
                found[stage, topic, partition] = count
    return found


async def oldest(admin: KafkaAdmin, stored: Mapping[Lane, int], lanes: Mapping[Lane, int]) -> dict[str, float]:
    """Stage to the seconds for which the oldest record before it has waited, where `lanes` says that some wait.

    A stage is missing where Kafka did not say in time, or has lost the records since.
    """
    places = {(stage, topic, partition): stored.get((stage, topic, partition), 0) for stage, topic, partition in lanes}
    asked = {(topic, partition, offset) for (_, topic, partition), offset in places.items()}
    written = await asyncio.to_thread(written_at, admin, asked)
    now, found = time.time(), dict[str, float]()
    for (stage, topic, partition), offset in places.items():
        if (at := written.get((topic, partition, offset))) is not None:
            found[stage] = max(found.get(stage, 0.0), now - at)
    return found


async def stage_topics(connection: Connection) -> dict[str, list[str]]:
    """Every stage with the topics it reads; those that definitions ask for, too."""
    bodies = (await DefinitionStore(connection).current()).values()
    asking = [DEFINITION.validate_python(body) for body in bodies if body["kind"] in ("destination", "bridge")]
    beside = stages_of([one for one in asking if isinstance(one, Destination | KafkaBridge)])
    return topics_of([*PIPELINE, *beside.values()])


async def total_lag(connection: Connection, admin: KafkaAdmin) -> int:
    """Records before any stage of the pipeline but the archive, which gathers; those of which only the outputs are
    still on their way count, too."""
    reads = topics_of(stage for stage in PIPELINE if stage.name != "archive")
    # A stage tells Kafka, about once a second, of what it has put out; its position is stored a moment earlier. In this
    # order: whoever had told that much had put out all of it, and nothing has come since.
    known, stored = await asyncio.to_thread(admin.told, reads), await positions(connection)
    ends = await asyncio.to_thread(admin.end_offsets, {topic for topics in reads.values() for topic in topics})
    # After a restore it is told less only when its worker has noticed.
    both = {lane: min(offset, stored.get(lane, 0)) for lane, offset in known.items()}
    return sum(lags(both, ends, reads).values())
