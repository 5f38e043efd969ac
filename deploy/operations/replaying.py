"""`headwater replay`: payloads from the archive through the pipeline once more, as the events that they were.

A payload is processed only where no outcome of it is known: into an empty database all are, into a live one none. So it
may be stopped and started at any time.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer
from psycopg import AsyncConnection

from deploy.installation import publish_definitions
from deploy.kafka import KafkaAdmin, client_config, kafka_admin
from deploy.operations.draining import ALL, RECORDING, drain
from deploy.operations.lag import total_lag
from deploy.operations.replay_job import ReplayError, ReplayJob, Window
from deploy.operations.said import lift_versions
from deploy.operations.state import state_hashes
from deploy.records import read
from deploy.settings import LINEAGE_PARTITIONS, Settings
from processors.connectors.archive import Archive
from processors.runner.publisher import SAFE
from processors.storage.database import Connection
from processors.storage.replayed import Replayed
from schemas.codecs import BRIDGE_HEADER, CLIENT_HEADER, HOPS_HEADER
from schemas.events import TrackedPayload
from schemas.origin import Origin
from schemas.replays import REPLAY_HEADER, Replay
from schemas.topics import TRACKS
from workflows.erasing import is_rest_of
from workflows.replays import Replays

#: Payloads between two notes of how far it has come.
PORTION = 2000
#: Records under way at most: transit topics keep what waits for three days, the disk not for ever.
MAX_UNDER_WAY = 100_000

Say = Callable[[str], None]


class Done(msgspec.Struct):
    """What a replay did."""

    sent: int
    state: dict[str, str]


async def replay(settings: Settings, key: bytes, asked: str, window: Window, say: Say) -> Done:
    """Replay the window to its end; `asked` is how the operator said it.

    Raises ReplayError where places of the archive are also other events' places, or another replay runs; StuckError
    where a stage does not move.
    """
    admin, archive = kafka_admin(settings), Archive(settings.archive())
    async with await AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        job = ReplayJob(connection, f"{settings.archive()} {asked}", window)
        await job.lock()
        await asyncio.to_thread(_require_same_life, archive, admin, settings)
        # When that is through, the outcome of everything that lies below these ends is known.
        ends = await asyncio.to_thread(admin.end_offsets, [TRACKS.name])
        await drain(connection, admin, RECORDING, lambda stage, lag: say(f"{stage} has {lag:,} records before it"))
        await lift_versions(connection, admin)
        await job.open()
        known = {settings.first_partition + partition: end for (_, partition), end in ends.items()}
        revision = await publish_definitions(settings)
        for emitted in (False, True):
            due = _due(archive, job, known, emitted)
            await _send(settings, admin, connection, job, due, Replays(key), revision, say)
            await drain(connection, admin, ALL, lambda stage, lag: say(f"{stage} has {lag:,} records before it"))
        await job.close()
        return Done(job.sent, await state_hashes(connection))


def _require_same_life(archive: Archive, admin: KafkaAdmin, settings: Settings) -> None:
    """Where the archive holds places of the present life of `tracks`, its payloads must be the ones that lie there."""
    ends = {partition: end for (_, partition), end in admin.end_offsets([TRACKS.name]).items()}
    for number in archive.partitions():
        lineage, partition = divmod(number, LINEAGE_PARTITIONS)
        if lineage != settings.lineage:
            continue
        last = archive.last(number)
        there = last.offset < ends.get(partition, 0)
        if not there or not _lies_there(admin, partition, last):
            raise ReplayError(
                f"the archive is of another life of `tracks` than this one, and places of both would be mixed up: "
                f"begin anew with HEADWATER_LINEAGE={lineage + 1} for all doors and workers"
            )


def _lies_there(admin: KafkaAdmin, partition: int, payload: TrackedPayload) -> bool:
    for message in read(admin, TRACKS.name, {partition: payload.offset}, only=partition):
        # Another offset: it has expired. Less of it: somebody was erased.
        return message.offset() != payload.offset or is_rest_of(payload.body, message.value())
    return True


def _due(archive: Archive, job: ReplayJob, known: Mapping[int, int], emitted: bool) -> Iterator[TrackedPayload]:
    """The window's payloads that were not sent yet, by time of receipt; each partition's in order.

    `known` has the ends of the present partitions below which each payload's outcome is known; what came in later may
    still be under way, and is left alone.

    What clients sent comes first. Workflows emit anew from it what they emitted then; what the archive has of that is
    sent when the rest is through, and finds its place taken: it must not overtake the events that led to it.
    """
    parts = [archive.read_partition(number, job.position(number, emitted)) for number in archive.partitions()]
    merged = heapq.merge(*parts, key=lambda payload: payload.received_at)
    return (
        payload
        for payload in merged
        if job.window.holds(payload)
        and (payload.hops > 0) == emitted
        and payload.offset < known.get(payload.partition, payload.offset + 1)
    )


async def _send(
    settings: Settings,
    admin: KafkaAdmin,
    connection: Connection,
    job: ReplayJob,
    due: Iterator[TrackedPayload],
    replays: Replays,
    revision: int,
    say: Say,
) -> None:
    counted = await _counted(connection, settings)
    tracks = settings.topic_prefix + TRACKS.name
    partitions = (await asyncio.to_thread(admin.existing))[tracks]
    producer = _Producer(settings, tracks)
    while portion := await asyncio.to_thread(_take, due):
        await _note_resent(connection, portion, replays)
        for payload in portion:
            replay = _said(payload, replays, not job.window.effects, counted(payload), revision)
            header = replays.sign(replay, payload.body)
            producer.send(payload, header, payload.partition % LINEAGE_PARTITIONS % partitions)
            job.sending(payload)
        await asyncio.to_thread(producer.flush)
        await job.note(len(portion))
        say(f"sent {job.sent:,} payloads, received until {portion[-1].received_at:%Y-%m-%d %H:%M:%S}")
        while (lag := await total_lag(connection, admin)) > MAX_UNDER_WAY:
            say(f"sent {job.sent:,} payloads; {lag:,} records under way: waiting for the stages")
            await asyncio.sleep(1)


def _take(due: Iterator[TrackedPayload]) -> list[TrackedPayload]:
    return [payload for _, payload in zip(range(PORTION), due, strict=False)]


async def _note_resent(connection: Connection, portion: list[TrackedPayload], replays: Replays) -> None:
    """Where the archive has what operators had sent again: a database that is rebuilt does not know it."""
    read = [(payload, replays.read(payload.replay, payload.body)) for payload in portion if payload.replay]
    resent = {(replay.origin, payload.partition, payload.offset) for payload, replay in read if replay is not None}
    if resent:
        await Replayed(connection).note(resent)


def _said(payload: TrackedPayload, replays: Replays, quiet: bool, counted: bool, revision: int) -> Replay:
    """What to say of a payload. One that was itself sent again (a repair) keeps what was said of it then."""
    repaired = replays.read(payload.replay, payload.body)
    return Replay(
        origin=repaired.origin if repaired else Origin(payload.partition, payload.offset, -1),
        received_ms=repaired.received_ms if repaired else int(payload.received_at.timestamp() * 1000),
        kind="archive",
        counted=repaired.counted if repaired else "" if counted else None,
        quiet=quiet,
        attempt=repaired.attempt if repaired else 0,
        revision=revision,
    )


async def _counted(connection: Connection, settings: Settings) -> Callable[[TrackedPayload], bool]:
    """Whether validate has counted a payload before: it has passed it, and not jumped over it."""
    cursor = await connection.execute(
        "select partition, first_offset, next_offset from stage_progress where stage = 'validate' and topic = 'tracks'"
    )
    passed = {
        settings.first_partition + partition: range(first, end) for partition, first, end in await cursor.fetchall()
    }
    cursor = await connection.execute("select partition, first_offset, next_offset from ended_lives")
    passed |= {partition: range(first, end) for partition, first, end in await cursor.fetchall()}
    cursor = await connection.execute(
        "select partition, from_offset, to_offset from accepted_gaps g where stage = 'validate' and topic = 'tracks' "
        "and not exists (select from accepted_gaps l where l.stage = g.stage and l.topic = g.topic "
        "and l.partition = g.partition and l.accepted_at > g.accepted_at and l.why like '%made again%')"
    )
    gaps = [
        (settings.first_partition + partition, range(start, end)) for partition, start, end in await cursor.fetchall()
    ]

    def counted(payload: TrackedPayload) -> bool:
        in_gap = any(payload.partition == partition and payload.offset in gap for partition, gap in gaps)
        return payload.offset in passed.get(payload.partition, ()) and not in_gap

    return counted


class _Producer:
    """Writes to given partitions, and knows whether all of it arrived."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._producer = Producer({**SAFE, **client_config(settings)})
        self._topic = topic
        self._error: KafkaError | None = None

    def send(self, payload: TrackedPayload, replay: bytes, partition: int) -> None:
        headers: list[tuple[str, Any]] = [(REPLAY_HEADER, replay), (BRIDGE_HEADER, payload.bridge.encode())]
        if payload.hops:
            headers.append((HOPS_HEADER, str(payload.hops).encode()))
        if payload.client:
            headers.append((CLIENT_HEADER, payload.client))
        while True:
            try:
                return self._producer.produce(
                    self._topic,
                    payload.body,
                    key=payload.key,
                    partition=partition,
                    headers=headers,
                    on_delivery=self._report,
                )
            except BufferError:
                self._producer.poll(0.1)

    def flush(self) -> None:
        """Return when all is acknowledged. Raises KafkaException."""
        self._producer.flush()
        if self._error is not None:
            raise KafkaException(self._error)

    def _report(self, error: KafkaError | None, message: Any) -> None:
        self._error = self._error or error
