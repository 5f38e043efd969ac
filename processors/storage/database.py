"""Connections to PostgreSQL, as lanes and tools need them."""

import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

Connection = psycopg.AsyncConnection[TupleRow]
Connect = Callable[[], Awaitable[Connection]]

#: A frozen worker must not hold its row, a dead network must be noticed, a statement must end.
#: Rows are copied as UTF-8, whatever the URL and the environment say.
LANE_OPTIONS: dict[str, Any] = {
    "client_encoding": "UTF8",
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


def connector(
    url: str, application_name: str, idle_s: float = 30, kind: type[Connection] = psycopg.AsyncConnection
) -> Connect:
    """A function that opens connections for lanes: READ COMMITTED, one transaction at a time, statements prepared.

    One that idles in a transaction for `idle_s` seconds is ended by PostgreSQL: its process must be frozen.
    """
    # The last one holds: what the URL sets for its own ends, as search_path, stays.
    options = (
        f"{conninfo_to_dict(url).get('options', '')} "
        f"-c idle_in_transaction_session_timeout={int(idle_s * 1000)} -c lock_timeout=10s -c statement_timeout=120s "
        "-c timezone=UTC -c jit=off"
    )

    async def connect() -> Connection:
        return await kind.connect(
            url, application_name=application_name, prepare_threshold=1, options=options, **LANE_OPTIONS
        )

    return connect


def as_json(rows: Any) -> str:
    """Rows for `jsonb_to_recordset`: one parameter for a whole batch."""
    return msgspec.json.encode(rows, enc_hook=str).decode()


def uuids(ids: Iterable[str]) -> str:
    """Ids for `%s::uuid[]`: one text, where a list would be written out item by item, at 4 microseconds each."""
    return f"{{{','.join(ids)}}}"


async def end_frozen(connection: Connection) -> None:
    """End the sessions of this connection's name and role that have waited within a statement for their client, for as
    long as they may idle within a transaction: their process must be frozen.

    None of PostgreSQL's timeouts reaches a COPY that waits for its rows (seen with 18; only a termination does), and
    whoever takes the lane over would wait for its row for ever.
    """
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and wait_event = 'ClientRead' "
        "and datname = current_database() and usename = current_user "
        "and application_name = current_setting('application_name') and state_change < now() - interval '1 ms' * "
        "(select setting::int from pg_settings where name = 'idle_in_transaction_session_timeout')"
    )
    await connection.commit()


def cut(connection: Connection) -> None:
    """Whoever waits for an answer on it gets none, at once: as a statement is cancelled psycopg waits ten seconds for a
    server that says nothing."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as its:
        its.shutdown(socket.SHUT_RDWR)


async def take_time(connection: Connection) -> None:
    """For this transaction: statements about somebody of whom very much is known may take as long as they take. What
    else waits for them is told that PostgreSQL is not available, and tries again."""
    await connection.execute("set local statement_timeout = 0")
