"""How far a replay has come, in PostgreSQL: one that was killed goes on there."""

import hashlib
from datetime import datetime

import msgspec

from deploy.operator_name import operator_name
from processors.storage.database import Connection
from schemas.events import TrackedPayload

#: One replay at a time: two would take each other's claims away.
_LOCK = 7_201_333


class ReplayError(ValueError):
    """The archive cannot be replayed here; the message says why."""


class Window(msgspec.Struct, frozen=True):
    """What is to be replayed, by time of receipt, and whether destinations hear of it."""

    since: datetime | None
    until: datetime | None
    effects: bool

    def holds(self, payload: TrackedPayload) -> bool:
        after = self.since is None or payload.received_at >= self.since
        return after and (self.until is None or payload.received_at < self.until)


class ReplayJob:
    """A replay by what it was asked for: asked for the same again while it is unfinished, it goes on."""

    def __init__(self, connection: Connection, asked: str, window: Window) -> None:
        """`asked` is what the operator said, words like "2h" as they are; `window` is what they mean now."""
        self._connection = connection
        self._id = hashlib.sha256(asked.encode()).hexdigest()[:16]
        self.window = window
        self._positions: dict[str, int] = {}
        self.sent = 0

    async def lock(self) -> None:
        """For as long as the connection lives. Raises ReplayError where another one runs."""
        cursor = await self._connection.execute("select pg_try_advisory_lock(%s)", (_LOCK,))
        if await cursor.fetchone() != (True,):
            raise ReplayError("another replay is running")

    async def open(self) -> None:
        """To be called when nothing is under way: what an earlier try claimed has its outcome, or was lost with a gap,
        and then all of it is sent once more."""
        await self._connection.execute("delete from replayed_payloads")
        await self._connection.execute(
            "insert into replays as r (id, description, started_by) values (%s, %s, %s) on conflict (id) do update set "
            "description = case when r.finished_at is null then r.description else excluded.description end, "
            f"positions = case when {_GOES_ON} then r.positions else '{{}}' end, "
            f"sent = case when {_GOES_ON} then r.sent else 0 end, started_at = now(), finished_at = null".encode(),
            (self._id, msgspec.json.encode(self.window).decode(), operator_name()),
        )
        cursor = await self._connection.execute(
            "select description, positions, sent from replays where id = %s", (self._id,)
        )
        description, self._positions, self.sent = await cursor.fetchone() or ("", {}, 0)
        self.window = msgspec.json.decode(description, type=Window)

    def position(self, partition: int, emitted: bool) -> int:
        """The offset up to which that was sent, -1 for nothing."""
        return self._positions.get(f"{partition} {emitted}", -1)

    def sending(self, payload: TrackedPayload) -> None:
        self._positions[f"{payload.partition} {payload.hops > 0}"] = payload.offset

    async def note(self, sent: int) -> None:
        self.sent += sent
        await self._connection.execute(
            "update replays set positions = %s::jsonb, sent = %s where id = %s",
            (msgspec.json.encode(self._positions).decode(), self.sent, self._id),
        )

    async def close(self) -> None:
        """All of it is through: what failed at first and has an outcome now (a repair) is a failure no more."""
        async with self._connection.transaction():
            await self._connection.execute(
                "update failures f set state = 'replayed' where state = 'open' and topic = 'tracks' "
                "and (kind = 'rejected' or stage in ('validate', 'identify', 'persist')) "
                f"and ({_has('events')} or {_has('event_duplicates')})".encode()
            )
            await self._connection.execute("delete from replayed_payloads")
            await self._connection.execute("update replays set finished_at = now() where id = %s", (self._id,))


#: It was not finished, and no records were lost since that it had sent.
_GOES_ON = "r.finished_at is null and not exists (select from accepted_gaps where accepted_at > r.started_at)"


def _has(table: str) -> str:
    return (
        f'exists (select from {table} where origin_partition = f.partition and origin_offset = f."offset" '
        "and origin_ordinal = f.ordinal)"
    )
