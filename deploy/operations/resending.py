"""Rejected events and dead letters, sent again."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from deploy.installation import publish_definitions
from deploy.kafka import client_config, kafka_admin
from deploy.operations.failures import KEY, PLACE, Selection
from deploy.operations.reports import rows
from deploy.settings import Settings
from deploy.stages import BRIDGE
from processors.runner.publisher import Publisher
from processors.storage.database import Connection, as_json
from processors.topology import PIPELINE
from schemas.codecs import BRIDGE_HEADER, HOPS_HEADER, Message
from schemas.failures import NOT_KEPT, RUNNER_REASONS
from schemas.origin import Origin
from schemas.profiles import ProfileChange, SegmentationJob
from schemas.replays import ATTEMPT_HEADER, REPLAY_HEADER, REVISION_HEADER, Replay
from schemas.topics import DEAD_LETTERS, PROFILE_CHANGES, SEGMENTATION_JOBS, TRACKS
from workflows.replays import Replays

#: Failures that are sent at a time: their content is held in memory.
PORTION = 100
#: Who has failed this often fails again: sending it once more must be asked for.
MAX_ATTEMPTS = 5


class Sent(msgspec.Struct):
    """What became of a selection."""

    sent: int = 0
    #: Places that were left alone, and why.
    refused: dict[str, str] = {}


async def resend(settings: Settings, key: bytes, selection: Selection, force: bool, dry_run: bool) -> Sent:
    """Send them again, each with its origin: what lands is what would have landed at first. Those that fail again come
    back, their attempt counted.

    They are judged by the definitions that are in force now, also where a stage has not heard of the last of them yet.
    What is to be sent is noted first, and each attempt is taken once: a crash at any moment is mended by the next try.
    Raises KafkaException where Kafka does not answer.
    """
    outcome = Sent()
    existing = await asyncio.to_thread(kafka_admin(settings).existing)
    revision = 0 if dry_run else await publish_definitions(settings)
    with nullcontext() if dry_run else closing(Publisher(client_config(settings), settings.topic_prefix)) as publisher:
        async with await AsyncConnection.connect(settings.database_url) as connection:
            last = ("", 0, 0, 0)
            while portion := await _portion(connection, settings, selection, last):
                last = tuple(portion[-1][name] for name in ("topic", "partition", "offset", "ordinal"))
                refused = {row["place"]: why for row in portion if (why := _refusal(row, existing, settings, force))}
                outcome.refused |= refused
                due = [row for row in portion if row["place"] not in refused]
                outcome.sent += len(due)
                if publisher is not None and due:
                    await _note(connection, due, "sending")
                    await publisher.publish([_message(row, Replays(key), revision) for row in due])
                    await _note(connection, due, "replayed")
                await connection.commit()
    return outcome


async def _portion(
    connection: Connection, settings: Settings, selection: Selection, after: tuple[Any, ...]
) -> list[DictRow]:
    """The next failures, locked. `lay_there`: validate has passed the place where it says it lay. `landed`: an event of
    that place is recorded."""
    names = ("topic", "partition", "offset", "ordinal")
    return await rows(
        connection,
        f'select {PLACE} as place, topic, partition, "offset", ordinal, kind, stage, source, reasons, key, content, '
        "coalesce(received_at, failed_at) as received_at, read_from, hops, quiet, counted, attempt, "
        "attempt + (state = 'open')::int as next_attempt, "
        "(partition < %(first)s or exists (select from stage_progress p where p.stage = 'validate' "
        "and p.topic = 'tracks' and p.partition = f.partition - %(first)s "
        'and p.next_offset > f."offset")) as lay_there, '
        'exists (select from events where origin_partition = f.partition and origin_offset = f."offset" '
        "and (f.ordinal = -1 or origin_ordinal = f.ordinal)) as landed "
        f"from failures f where {selection.where()} "
        f"and {KEY} > (%(topic)s, %(partition)s, %(offset)s, %(ordinal)s) "
        f"order by {KEY[1:-1]} limit {PORTION} for update of f",
        {**selection.values(), "first": settings.first_partition, **dict(zip(names, after, strict=True))},
    )


async def _note(connection: Connection, due: Sequence[DictRow], state: str) -> None:
    """Committed. One that has failed again meanwhile is open, and stays so."""
    keys = [{"t": row["topic"], "p": row["partition"], "o": row["offset"], "n": row["ordinal"]} for row in due]
    await connection.execute(
        "update failures f set state = %s, attempt = attempt + (state = 'open')::int "
        "from jsonb_to_recordset(%s::jsonb) as r(t text, p int, o bigint, n int) "
        'where f.topic = t and f.partition = p and f."offset" = o and f.ordinal = n '
        "and (%s = 'sending' or state = 'sending')",
        (state, as_json(keys), state),
    )
    await connection.commit()


def _codes(row: DictRow) -> set[str]:
    return {reason["code"] for reason in row["reasons"]}


def _refusal(row: DictRow, existing: Mapping[str, int], settings: Settings, force: bool) -> str | None:
    """Why this one must not be sent again."""
    if "loop_detected" in _codes(row):
        return "it is part of a loop: sending it again would begin another"
    if bytes(row["content"]) == NOT_KEPT:
        return "its content was not to be kept, and is gone"
    if row["kind"] == "dead-letter" and (why := _unsendable(row, existing, settings)):
        return why
    if not force and row["next_attempt"] > MAX_ATTEMPTS:
        return f"it failed {row['attempt']} times after it was sent again; --force sends it all the same"
    if not force and "bridge_not_allowed" in _codes(row):
        return "its source may not send this way; --force lets it in"
    return None


def _unsendable(row: DictRow, existing: Mapping[str, int], settings: Settings) -> str | None:
    """Anybody may write dead letters: what one says of its place is believed as far as it can be."""
    stage, topic = row["stage"], row["read_from"]
    if topic == DEAD_LETTERS.name:
        return "it is a dead letter about a dead letter"
    if stage.startswith(BRIDGE):
        return "its topic is not ours: let whoever writes there write it again"
    if stage == "archive":
        return "the archive reads the topic itself: start it again"
    if topic not in READS.get(stage, (f"destination-{stage.removeprefix('dispatch-')}",)):
        return f"{stage or 'no stage'} does not read {topic or 'anything'}"
    if settings.topic_prefix + topic not in existing:
        return f"the topic {topic} is not there any more"
    if stage == "validate" and not row["lay_there"]:
        return "nothing has lain at its place yet"
    if stage == "validate" and row["landed"]:
        return "its place has an event"
    if topic == PROFILE_CHANGES.name:
        return _unsayable(bytes(row["content"]))
    return None


def _unsayable(content: bytes) -> str | None:
    """Why a change cannot be said anew."""
    try:
        change = _change(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "it is not a change"
    return "it holds what workflows sent, with the profile as it was then" if change.sends else None


#: Stage to the topics it reads; dispatchers read their destination's.
READS = {stage.name: tuple(topic.name for topic in stage.reads) for stage in PIPELINE}
_change = msgspec.json.Decoder(ProfileChange).decode


def _message(row: DictRow, replays: Replays, revision: int) -> Message:
    """What goes to Kafka: a payload to `tracks` with its origin; anything later to the topic it was read from. It is
    judged by the definitions of this config revision or later ones."""
    attempt = row["next_attempt"]
    body = bytes(row["content"])
    key = None if row["key"] is None else bytes(row["key"])
    if row["read_from"] == PROFILE_CHANGES.name:
        # An old change must not be said after newer ones: the profile is said anew, as it is.
        change = _change(body)
        job = SegmentationJob(profile=change.profile, changed=change.changed, revision=revision)
        return SEGMENTATION_JOBS.encode(job)
    if row["kind"] == "dead-letter" and row["stage"] != "validate":
        headers = [(ATTEMPT_HEADER, str(attempt).encode()), (REVISION_HEADER, str(revision).encode())]
        return Message(row["read_from"], key, body, headers)
    uncounted = row["kind"] == "dead-letter" and _codes(row) & RUNNER_REASONS and not row["counted"]
    replay = Replay(
        origin=Origin(row["partition"], row["offset"], row["ordinal"]),
        received_ms=int(row["received_at"].timestamp() * 1000),
        kind="failure",
        counted=None if uncounted else row["source"],
        quiet=row["quiet"],
        attempt=attempt,
        revision=revision,
    )
    # An operator sends it: which way its source may send does not matter any more.
    headers = [(REPLAY_HEADER, replays.sign(replay, body)), (BRIDGE_HEADER, b"workflow")]
    if row["hops"]:
        headers.append((HOPS_HEADER, str(row["hops"]).encode()))
    return Message(TRACKS.name, key or _session(body), body, headers)


class _Keyed(msgspec.Struct):
    session: dict[str, Any] = {}


_keyed = msgspec.json.Decoder(_Keyed).decode


def _session(body: bytes) -> bytes | None:
    """The session's id, so that it lands in its session's partition."""
    try:
        id = _keyed(body).session.get("id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return id.encode() if isinstance(id, str) else None
