"""Rejected events and dead letters, as operators handle them: looked at, sent again, dropped."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from deploy.kafka import client_config
from deploy.reports import rows
from deploy.settings import Settings
from processors.runner.publisher import Publisher
from processors.storage.database import Connection
from schemas.codecs import BRIDGE_HEADER, Message
from schemas.failures import RUNNER_REASONS
from schemas.origin import Origin
from schemas.replays import ATTEMPT_HEADER, REPLAY_HEADER, Replay
from schemas.topics import DEAD_LETTERS, TRACKS
from workflows.replays import Replays

PORTION = 500
#: Who has failed this often fails again: sending it once more must be asked for.
MAX_ATTEMPTS = 5
NOT_KEPT = b"{}"


class Selection(msgspec.Struct):
    """Which failures are meant. None: any."""

    kind: str
    stage: str | None = None
    reason: str | None = None
    source: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: Places, as `list` prints them.
    places: list[str] | None = None
    state: str | None = "open"

    def where(self) -> str:
        """The condition, with this selection's fields as parameters."""
        given = [_CONDITIONS[name] for name in _CONDITIONS if getattr(self, name) is not None]
        return " and ".join(["kind = %(kind)s", *given])


_PLACE = "topic || '/' || partition || '/' || \"offset\" || '/' || ordinal"
_CONDITIONS = {
    "stage": "stage = %(stage)s",
    "reason": "reasons @> jsonb_build_array(jsonb_build_object('code', %(reason)s::text))",
    "source": "source = %(source)s",
    "type": "type = %(type)s",
    "since": "failed_at >= %(since)s",
    "until": "failed_at < %(until)s",
    "places": f"{_PLACE} = any(%(places)s)",
    "state": "state = %(state)s",
}
_COLUMNS = (
    f"{_PLACE} as place, kind, stage, source, type, event_id, reasons, failed_at, state, attempt, read_from, "
    "repaired_by"
)


class Sent(msgspec.Struct):
    """What became of a selection."""

    sent: int = 0
    #: Places that were left alone, and why.
    refused: dict[str, str] = {}


async def listed(connection: Connection, selection: Selection, limit: int) -> list[DictRow]:
    """The failures, the latest first, without their content."""
    return await rows(
        connection,
        f"select {_COLUMNS} from failures where {selection.where()} order by failed_at desc, {_PLACE} limit %(limit)s",
        {**msgspec.structs.asdict(selection), "limit": limit},
    )


async def shown(connection: Connection, selection: Selection) -> DictRow | None:
    """One failure with its content."""
    found = await rows(
        connection,
        f"select {_COLUMNS}, key, content from failures where {selection.where()}",
        msgspec.structs.asdict(selection),
    )
    return found[0] if found else None


async def count(connection: Connection, selection: Selection) -> int:
    """How many there are."""
    (found,) = await rows(
        connection,
        f"select count(*) as n from failures where {selection.where()}",
        msgspec.structs.asdict(selection),
    )
    return int(found["n"])


async def drop(connection: Connection, selection: Selection) -> int:
    """Give them up: their content is deleted, that they were is not. How many."""
    cursor = await connection.execute(
        f"update failures set state = 'dropped', content = '', key = null where {selection.where()}".encode(),
        msgspec.structs.asdict(selection),
    )
    return cursor.rowcount


async def replay(settings: Settings, key: bytes, selection: Selection, force: bool, dry_run: bool) -> Sent:
    """Send them again, each with its origin: what lands is what would have landed at first. Those that fail again come
    back, their attempt counted.

    A crash between sending and noting it makes the next replay send some once more: their origins make that harmless.
    """
    outcome = Sent()
    publisher = None if dry_run else Publisher(client_config(settings), settings.topic_prefix)
    async with await AsyncConnection.connect(settings.database_url) as connection:
        last = ("", 0, 0, 0)
        while portion := await _portion(connection, selection, last):
            last = tuple(portion[-1][name] for name in ("topic", "partition", "offset", "ordinal"))
            due = []
            for row in portion:
                if why := _refusal(row, force):
                    outcome.refused[row["place"]] = why
                else:
                    due.append(row)
            outcome.sent += len(due)
            if publisher is not None and due:
                await publisher.publish([_message(row, Replays(key)) for row in due])
                await _note(connection, due)
            await connection.commit()
    if publisher is not None:
        publisher.close()
    return outcome


async def _portion(connection: AsyncConnection[Any], selection: Selection, after: tuple[Any, ...]) -> list[DictRow]:
    topic, partition, offset, ordinal = after
    return await rows(
        connection,
        f'select {_PLACE} as place, topic, partition, "offset", ordinal, kind, stage, source, reasons, key, content, '
        f"failed_at, attempt, read_from from failures where {selection.where()} "
        'and (topic, partition, "offset", ordinal) > (%(topic)s, %(partition)s, %(offset)s, %(ordinal)s) '
        f'order by topic, partition, "offset", ordinal limit {PORTION} for update',
        {
            **msgspec.structs.asdict(selection),
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "ordinal": ordinal,
        },
    )


async def _note(connection: AsyncConnection[Any], due: Sequence[DictRow]) -> None:
    await connection.execute(
        f"update failures set state = 'replayed', attempt = attempt + 1 where {_PLACE} = any(%s)".encode(),
        ([row["place"] for row in due],),
    )


def _codes(row: DictRow) -> set[str]:
    return {reason["code"] for reason in row["reasons"]}


def _refusal(row: DictRow, force: bool) -> str | None:
    """Why this one must not be sent again."""
    if row["read_from"] == DEAD_LETTERS.name:
        return "it is a dead letter about a dead letter"
    if "loop_detected" in _codes(row):
        return "it is part of a loop: sending it again would begin another"
    if row["kind"] == "rejected" and bytes(row["content"]) == NOT_KEPT:
        return "its content was not to be kept, and is gone"
    if not force and row["attempt"] >= MAX_ATTEMPTS:
        return f"it failed {row['attempt']} times after it was sent again; --force sends it all the same"
    if not force and "bridge_not_allowed" in _codes(row):
        return "its source may not send this way; --force lets it in"
    return None


def _message(row: DictRow, replays: Replays) -> Message:
    """What goes to Kafka: a payload to `tracks` with its origin; anything later to the topic it was read from."""
    attempt = row["attempt"] + 1
    body = bytes(row["content"])
    key = None if row["key"] is None else bytes(row["key"])
    if row["kind"] == "dead-letter" and row["stage"] != "validate":
        return Message(row["read_from"], key, body, [(ATTEMPT_HEADER, str(attempt).encode())])
    replay = Replay(
        origin=Origin(row["partition"], row["offset"], row["ordinal"]),
        received_ms=int(row["failed_at"].timestamp() * 1000),
        kind="failure",
        counted=None if row["kind"] == "dead-letter" and _codes(row) & RUNNER_REASONS else row["source"],
        attempt=attempt,
    )
    # An operator sends it: which way its source may send does not matter any more.
    headers = [(REPLAY_HEADER, replays.sign(replay, body)), (BRIDGE_HEADER, b"workflow")]
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
