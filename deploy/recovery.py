"""`headwater recover`: what stopped a lane is explained, and with the operator's leave removed. Nothing is jumped in
silence: every gap that is accepted is written down.

A database that went back in time needs no jump: Kafka still has what it has lost. Its lanes go on from PostgreSQL's
positions, stage by stage, each when the one before it has caught up, so that no output meets a state older than its
own; what had been done already is dropped by origin and id.
"""

import asyncio
import getpass
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection

from deploy.draining import all_stages, drain
from deploy.feed import Published
from deploy.installation import kafka_admin
from deploy.kafka import KafkaAdmin
from deploy.reports import rows
from deploy.said import take_over_said
from deploy.settings import Settings
from processors.storage.database import Connection
from processors.storage.definitions import DefinitionStore
from processors.storage.progress import LaneKey
from schemas.topics import CONFIG, TRACKS

Say = Callable[[str], None]


class RecoveryError(ValueError):
    """Going on would mix up or lose something; the message says what to do first."""


class Finding(msgspec.Struct):
    """Why one lane stands still."""

    lane: LaneKey
    what: Literal["went back", "gone", "made again", "cut"]
    #: The lane's position, and where Kafka stands: committed (went back), beginning (gone, made again) or end (cut).
    position: int
    kafka: int
    topic_id: str

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


async def findings(connection: Connection, admin: KafkaAdmin) -> list[Finding]:
    """What is wrong with each lane; nothing for most."""
    found = []
    stored = await rows(connection, "select * from stage_progress order by stage, topic, partition", {})
    for stage, topic in sorted({(row["stage"], row["topic"]) for row in stored}):
        lanes = [row for row in stored if (row["stage"], row["topic"]) == (stage, topic)]
        found += await _of_topic(stage, topic, lanes, admin)
    return found


async def _of_topic(stage: str, topic: str, lanes: list[dict[str, Any]], admin: KafkaAdmin) -> list[Finding]:
    id = await admin.topic_id(admin.prefix + topic)
    begins = await asyncio.to_thread(admin.begin_offsets, topic)
    ends = {partition: end for (_, partition), end in (await asyncio.to_thread(admin.end_offsets, [topic])).items()}
    committed = await asyncio.to_thread(admin.committed, stage, topic)
    found = []
    for row in lanes:
        partition, position = row["partition"], row["next_offset"]
        lane = LaneKey(stage, topic, partition)
        begin, end, said = begins.get(partition, 0), ends.get(partition, 0), committed.get(partition, 0)
        if row["topic_id"] != id:
            found.append(Finding(lane, "made again", position, begin, id))
        elif begin > position:
            found.append(Finding(lane, "gone", position, begin, id))
        elif end < position:
            found.append(Finding(lane, "cut", position, end, id))
        elif said > max(position, row["forgiven"]):
            found.append(Finding(lane, "went back", position, said, id))
    return found


async def recover(settings: Settings, accept_gaps: bool, say: Say) -> list[Finding]:
    """Remove what stops lanes; what it was. Workers may run: their lanes look again every few seconds.

    Raises RecoveryError where gaps must be accepted first, or places in `tracks` would be used twice.
    """
    admin = kafka_admin(settings)
    async with await AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        found = await findings(connection, admin)
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
    lane = (finding.lane.stage, finding.lane.topic, finding.lane.partition)
    async with connection.transaction():
        await connection.execute(
            "insert into accepted_gaps (stage, topic, partition, from_offset, to_offset, why, accepted_by) "
            "values (%s, %s, %s, %s, %s, %s, %s)",
            (*lane, finding.position, finding.kafka, str(finding), getpass.getuser()),
        )
        await connection.execute(
            "update stage_progress set next_offset = %s, topic_id = %s, forgiven = 0 "
            "where stage = %s and topic = %s and partition = %s",
            (finding.kafka, finding.topic_id, *lane),
        )


async def _bring_forward(connection: Connection, admin: KafkaAdmin, found: list[Finding], say: Say) -> None:
    await take_over_said(connection, admin)
    await _take_over_definitions(connection, admin)
    forgiven = {finding.lane: finding.kafka for finding in found if finding.what == "went back"}
    for stage in [*await all_stages(connection), "archive"]:
        for lane, position in forgiven.items():
            if lane.stage == stage:
                # Its outputs are out: nothing is committed over an undelivered outbox, and the lane once was further.
                await connection.execute(
                    "update stage_progress set forgiven = %s, outbox = null "
                    "where stage = %s and topic = %s and partition = %s",
                    (position, lane.stage, lane.topic, lane.partition),
                )
        if stage != "archive":
            await drain(connection, admin, [stage], lambda stage, lag: say(f"{stage} catches up: {lag:,} records"))


async def _take_over_definitions(connection: Connection, admin: KafkaAdmin) -> None:
    """Definitions that were published after the backup are still in `config`: they are in force, and stay so."""
    records = await asyncio.to_thread(lambda: [(m.key() or b"", m.value()) for m in admin.read(CONFIG.name)])
    published = [(key.decode(), msgspec.json.decode(value, type=Published)) for key, value in records if value]
    async with connection.transaction():
        await DefinitionStore(connection).take_over([(said.revision, key, said.body) for key, said in published])
