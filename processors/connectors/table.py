"""Writes deliveries to a table of somebody's PostgreSQL: a row a profile, of its latest version; a row an event."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from processors.runner.failures import Poison, Unavailable
from schemas.definitions.outbound import Destination, Table
from schemas.profiles import Delivery

log = logging.getLogger("headwater.dispatch")
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode

#: The DSN of a resource, None where there is no such resource; raises ValueError where it cannot be opened.
DsnOf = Callable[[str], str | None]
#: Opens a connection that keeps out of private networks.
Open = Callable[[str], Awaitable[psycopg.AsyncConnection[Any]]]
#: Written in one transaction, within the destination's time: a table with slow triggers must get on, too.
ROWS_AT_ONCE = 200
#: What is wrong with the row itself (data, constraints); anything else is wrong with the table, or the database.
_OF_THE_ROW = ("22", "23")


class TableWriter:
    """Writes what is newer than what is there: repeats and late repeats change nothing."""

    def __init__(self, destination: Callable[[], Destination | None], dsn_of: DsnOf, open: Open) -> None:
        self._destination, self._dsn_of, self._open = destination, dsn_of, open
        self._connected_to = ""
        #: One lane at a time: it is one connection.
        self._turn = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Return when all are written. Raises Poison where the table refuses one, Unavailable."""
        destination = self._destination()
        if destination is None or destination.table is None:
            raise Unavailable("destination removed, paused or off")
        try:
            async with self._turn:
                for part in _parts(deliveries):
                    async with asyncio.timeout(destination.timeout_s):
                        connection = await self._connected(destination.table)
                        async with connection.transaction():
                            await _write(connection, destination.table, list(destination.mapping), part)
        except (psycopg.Error, OSError, ValueError) as error:
            await self._forget()
            state = getattr(error, "sqlstate", None) or ""
            if state[:2] in _OF_THE_ROW:
                raise Poison("refused_by_destination", f"{type(error).__name__} {state}") from error
            log.warning("destination %s: %s %s", destination.id, type(error).__name__, state)
            raise Unavailable("destination's database") from error

    async def _connected(self, table: Table) -> psycopg.AsyncConnection[Any]:
        dsn = self._dsn_of(table.resource)
        if dsn is None:
            raise Unavailable("resource removed")
        if self._connection is None or self._connection.closed or dsn != self._connected_to:
            await self._forget()
            self._connection, self._connected_to = await self._open(dsn), dsn
        return self._connection

    async def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _parts(deliveries: Sequence[Delivery]) -> Iterator[Mapping[str, Delivery]]:
    """By key the newest, in parts that are written one by one."""
    newest: dict[str, Delivery] = {}
    for one in deliveries:
        key = one.id if one.cause == "event" else one.profile
        if one.cause != "send" and (key not in newest or newest[key].version <= one.version):
            newest[key] = one
    keys = list(newest)
    for start in range(0, len(keys), ROWS_AT_ONCE):
        yield {key: newest[key] for key in keys[start : start + ROWS_AT_ONCE]}


async def _write(
    connection: psycopg.AsyncConnection[Any], table: Table, columns: Sequence[str], newest: Mapping[str, Delivery]
) -> None:
    rows = [{**one.body, **_own(table, key, one)} for key, one in newest.items() if not one.gone]
    gone = {key: one.version for key, one in newest.items() if one.gone}
    names = _names(table, columns)
    if rows:
        await connection.execute(_UPSERT.format(**names), (_encode(rows).decode(),))
    if gone and table.person is not None:
        await connection.execute(_DELETE_EVENTS.format(**names), (list(gone),))
    elif gone:
        await connection.execute(_DELETE.format(**names), (list(gone), list(gone.values())))


def _own(table: Table, key: str, delivery: Delivery) -> dict[str, Any]:
    person = {table.person: delivery.profile} if table.person is not None else {}
    return {table.key: key, table.version: delivery.version, **person}


def _names(table: Table, columns: Sequence[str]) -> Mapping[str, sql.Composable]:
    every = list(dict.fromkeys([table.key, table.version, *([table.person] if table.person else []), *columns]))
    sets = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(one)) for one in every[1:]]
    return {
        "table": sql.Identifier(*table.name.split(".")),
        "key": sql.Identifier(table.key),
        "version": sql.Identifier(table.version),
        "person": sql.Identifier(table.person or table.key),
        "columns": sql.SQL(", ").join(map(sql.Identifier, every)),
        "sets": sql.SQL(", ").join(sets),
    }


_UPSERT = sql.SQL(
    "insert into {table} as t ({columns}) select {columns} from jsonb_populate_recordset(null::{table}, %s::jsonb) "
    "order by {key} on conflict ({key}) do update set {sets} where t.{version} < excluded.{version}"
)
_DELETE = sql.SQL(
    "delete from {table} t using unnest(%s::text[], %s::bigint[]) as gone(key, version) "
    "where t.{key}::text = gone.key and t.{version} <= gone.version"
)
_DELETE_EVENTS = sql.SQL("delete from {table} where {person}::text = any(%s)")
