"""`headwater recover`: what stopped a lane is explained, and with the operator's leave removed. Nothing is jumped in
silence: every gap that is accepted is written down.

A database that went back in time needs no jump: Kafka still has what it has lost. Its lanes go on from PostgreSQL's
positions, stage by stage, each when the one before it has caught up, so that no output meets a state older than its
own; what had been done already is dropped by origin and id.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

import msgspec
from psycopg import AsyncConnection

from deploy.feed import Published
from deploy.kafka import KafkaAdmin, kafka_admin
from deploy.operations.draining import ALL, drain
from deploy.operations.reports import rows
from deploy.operations.said import take_over_said
from deploy.operator_name import operator_name
from deploy.records import read
from deploy.settings import LINEAGE_PARTITIONS, Settings
from deploy.stages import BRIDGE, DISPATCH
from processors.storage.database import Connection
from processors.storage.definitions import DefinitionStore
from processors.storage.parked import ParkedRuns
from processors.storage.progress import LaneKey
from schemas.topics import CONFIG, TRACKS, WORKFLOW_RUNS, full_name

Say = Callable[[str], None]


class RecoveryError(ValueError):
    """Going on would mix up or lose something; the message says what to do first."""


class Finding(msgspec.Struct):
    """Why one lane stands still."""

    lane: LaneKey
    what: Literal["went back", "gone", "made again", "cut", "deleted"]
    #: The lane's position, and where Kafka stands: committed (went back), beginning (gone, made again) or end (cut).
    position: int
    kafka: int
    topic_id: str
    #: What the consumer group has committed.
    committed: int

    def __str__(self) -> str:
        match self.what:
            case "went back":
                return f"{self.lane}: went back in time: Kafka has committed {self.kafka}, PostgreSQL {self.position}"
            case "gone":
                return f"{self.lane}: offsets {self.position} to {self.kafka - 1} are gone, and were not processed"
            case "made again":
                return f"{self.lane}: the topic was made again; what the old one held from {self.position} on is gone"
            case "cut":
                return f"{self.lane}: the topic ends at {self.kafka}, {self.position} was reached: Kafka lost records"
            case "deleted":
                return f"{self.lane}: the topic is not there; what it held from {self.position} on is gone"


async def findings(connection: Connection, admin: KafkaAdmin) -> list[Finding]:
    """What is wrong with each lane; nothing for most."""
    found = []
    existing = await asyncio.to_thread(admin.existing)
    lanes = await rows(
        connection, "select stage, topic, partition, next_offset from stage_progress order by 1, 2, 3", {}
    )
    missing = [lane for lane in lanes if full_name(admin.prefix, lane["topic"]) not in existing]
    for lane in missing:
        key = LaneKey(lane["stage"], lane["topic"], lane["partition"])
        found.append(Finding(key, "deleted", lane["next_offset"], 0, "", 0))
    for stage, topic in sorted({(lane["stage"], lane["topic"]) for lane in lanes if lane not in missing}):
        found += await _of_topic(stage, topic, admin, connection)
    return found


async def _of_topic(stage: str, topic: str, admin: KafkaAdmin, connection: Connection) -> list[Finding]:
    # In this order workers may go on meanwhile: what is committed or begins is read before the positions, which only
    # grow, and ends after them.
    id = await admin.topic_id(full_name(admin.prefix, topic))
    told = await asyncio.to_thread(admin.told, {stage: [topic]})
    begins = await asyncio.to_thread(admin.begin_offsets, topic)
    lanes = await rows(
        connection,
        "select * from stage_progress where stage = %(stage)s and topic = %(topic)s order by partition",
        {"stage": stage, "topic": topic},
    )
    ends = {partition: end for (_, partition), end in (await asyncio.to_thread(admin.end_offsets, [topic])).items()}
    found = []
    for row in lanes:
        partition, position = row["partition"], row["next_offset"]
        lane = LaneKey(stage, topic, partition)
        begin, end, said = begins.get(partition, 0), ends.get(partition, 0), told.get((stage, topic, partition), 0)
        if row["topic_id"] != id:
            found.append(Finding(lane, "made again", position, begin, id, said))
        elif begin > position:
            found.append(Finding(lane, "gone", position, begin, id, said))
        elif end < position:
            found.append(Finding(lane, "cut", position, end, id, said))
        elif said > max(position, row["forgiven"]):
            found.append(Finding(lane, "went back", position, said, id, said))
    return found


async def recover(settings: Settings, accept_gaps: bool, say: Say) -> list[Finding]:
    """Remove what stops lanes; what it was. Workers may run: their lanes look again every few seconds.

    Raises RecoveryError where gaps must be accepted first, or places in `tracks` would be used twice.
    """
    admin = kafka_admin(settings)
    async with await AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        found = await findings(connection, admin)
        if deleted := {finding.lane.topic for finding in found if finding.what == "deleted"} - _of_destinations(found):
            raise RecoveryError(
                f"not there any more: {', '.join(sorted(deleted))}; `headwater topics` makes them again"
            )
        found = [finding for finding in found if finding.what != "deleted"]
        gaps = [finding for finding in found if finding.what != "went back"]
        if gaps and not accept_gaps:
            raise RecoveryError(
                "records are gone that were not processed:\n  "
                + "\n  ".join(map(str, gaps))
                + "\nWith --accept-gaps the lanes go on behind them, and the gaps are written down. What `tracks` or "
                "the archive still has of them `headwater replay` brings back afterwards."
            )
        await _require_new_lineage(connection, settings, gaps)
        for finding in gaps:
            await _accept(connection, finding)
            say(f"accepted: {finding}")
        if any(finding.what == "went back" for finding in found):
            await _bring_forward(connection, admin, found, say)
        return found


def _of_destinations(found: list[Finding]) -> set[str]:
    """Topics of destinations, and of others that bridges read: one that was removed may be gone."""
    return {finding.lane.topic for finding in found if finding.lane.stage.startswith((DISPATCH, BRIDGE))}


async def _require_new_lineage(connection: Connection, settings: Settings, gaps: list[Finding]) -> None:
    """A new life of `tracks` has the old one's places: origins must say which is meant."""
    if not any(finding.lane.topic == TRACKS.name and finding.what in ("made again", "cut") for finding in gaps):
        return
    cursor = await connection.execute("select coalesce(max(origin_partition), -1) from events")
    (highest,) = await cursor.fetchone() or (-1,)
    if highest >= settings.first_partition:
        raise RecoveryError(
            "new records of `tracks` take the places of old ones, and events are told apart by their place: set "
            f"HEADWATER_LINEAGE={settings.lineage + 1} for all doors and workers, start them again, and recover then"
        )


async def _accept(connection: Connection, finding: Finding) -> None:
    """Go on behind a gap, and write it down. Raises RecoveryError where the lane has moved since it was looked at."""
    lane = (finding.lane.stage, finding.lane.topic, finding.lane.partition)
    async with connection.transaction():
        if finding.lane.stage == "validate" and finding.what == "made again":
            await _end_life(connection, finding)
        cursor = await connection.execute(
            "update stage_progress set next_offset = %s, topic_id = %s, forgiven = %s, "
            "first_offset = case when topic_id = %s then first_offset else %s end "
            "where stage = %s and topic = %s and partition = %s and next_offset = %s",
            (
                finding.kafka,
                finding.topic_id,
                finding.committed,
                finding.topic_id,
                finding.kafka,
                *lane,
                finding.position,
            ),
        )
        if cursor.rowcount != 1:
            raise RecoveryError(f"{finding.lane} goes on by itself: look again with --dry-run")
        if finding.lane.topic == WORKFLOW_RUNS.name:  # what runs that wait were told may be gone
            await ParkedRuns(connection).wake_all()
        await connection.execute(
            "insert into accepted_gaps (stage, topic, partition, from_offset, to_offset, why, accepted_by) "
            "values (%s, %s, %s, %s, %s, %s, %s)",
            (*lane, finding.position, finding.kafka, str(finding), operator_name()),
        )


async def _end_life(connection: Connection, finding: Finding) -> None:
    """What validate has counted of a `tracks` that is gone: a replay of it must not count it again."""
    await connection.execute(
        "insert into ended_lives (partition, first_offset, next_offset) "
        "select partition + %s * (select coalesce(max(origin_partition), 0) / %s from events), "
        "first_offset, next_offset from stage_progress "
        "where stage = 'validate' and topic = 'tracks' and partition = %s on conflict do nothing",
        (LINEAGE_PARTITIONS, LINEAGE_PARTITIONS, finding.lane.partition),
    )


async def _bring_forward(connection: Connection, admin: KafkaAdmin, found: list[Finding], say: Say) -> None:
    await take_over_said(connection, admin)
    await _take_over_definitions(connection, admin)
    back = [finding for finding in found if finding.what == "went back"]
    # Whoever nobody waits for goes on at once: what the archive has not read yet must not expire meanwhile.
    for stage in ["archive", *ALL, *{f.lane.stage for f in back if f.lane.stage.startswith((DISPATCH, BRIDGE))}]:
        for finding in back:
            if finding.lane.stage == stage:
                # Its outputs are out: nothing is committed over an undelivered outbox, and the lane once was further.
                await connection.execute(
                    "update stage_progress set forgiven = %s, outbox = null "
                    "where stage = %s and topic = %s and partition = %s and next_offset = %s",
                    (finding.kafka, stage, finding.lane.topic, finding.lane.partition, finding.position),
                )
        if stage in ALL:
            await drain(connection, admin, [stage], lambda stage, lag: say(f"{stage} catches up: {lag:,} records"))


async def _take_over_definitions(connection: Connection, admin: KafkaAdmin) -> None:
    """Definitions that were published after the backup are still in `config`: they are in force, and stay so."""
    records = await asyncio.to_thread(lambda: [(m.key() or b"", m.value()) for m in read(admin, CONFIG.name)])
    published = [(key.decode(), msgspec.json.decode(value, type=Published)) for key, value in records if value]
    async with connection.transaction():
        await DefinitionStore(connection).take_over([(said.revision, key, said.body) for key, said in published])
