"""Definitions: PostgreSQL is the truth, with every version that ever was and who made it."""

from collections.abc import Iterable, Mapping
from typing import Any

from processors.storage.database import Connection, as_json

_LOCK = 7_201_332


class DefinitionStore:
    """Reads and changes definitions; publishing to the topic `config` is the caller's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self) -> None:
        """One change at a time, until the transaction ends: revisions come in the order of commits."""
        await self._connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))

    async def current(self) -> dict[str, dict[str, Any]]:
        """The definitions in force, by `kind/id`."""
        cursor = await self._connection.execute(
            "select key, body from (select distinct on (key) key, body from definitions order by key, revision desc) d "
            "where body is not null"
        )
        return dict(await cursor.fetchall())

    async def revision(self) -> int:
        """The latest revision; 0 where nothing was ever defined."""
        cursor = await self._connection.execute("select coalesce(max(revision), 0) from definitions")
        (revision,) = await cursor.fetchone() or (0,)
        return int(revision)

    async def change(self, changes: Mapping[str, dict[str, Any] | None], changed_by: str) -> None:
        """Write new versions; None removes a definition."""
        for key, body in changes.items():
            await self._connection.execute(
                "insert into definitions (key, body, changed_by) values (%s, %s::jsonb, %s)",
                (key, None if body is None else as_json(body), changed_by),
            )

    async def latest(self) -> dict[str, tuple[int, dict[str, Any] | None]]:
        """The latest version of each, by `kind/id`: its revision, and its body, None where it was removed."""
        cursor = await self._connection.execute(
            "select distinct on (key) key, revision, body from definitions order by key, revision desc"
        )
        return {key: (revision, body) for key, revision, body in await cursor.fetchall()}

    async def take_over(self, published: Iterable[tuple[int, str, dict[str, Any] | None]]) -> None:
        """Write down (revision, key, body) of what the topic has and this database does not know: it was restored."""
        rows = [{"r": revision, "k": key, "b": body} for revision, key, body in published]
        await self._connection.execute(
            "insert into definitions (revision, key, body, changed_by) overriding system value "
            "select r, k, b, 'headwater recover' from jsonb_to_recordset(%s::jsonb) "
            "as t(r bigint, k text, b jsonb) on conflict (revision) do nothing",
            (as_json(rows),),
        )
        await self._connection.execute(
            "select setval(pg_get_serial_sequence('definitions', 'revision'), max(revision)) from definitions"
        )
