"""Connections to PostgreSQL, as lanes and tools need them."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow

from processors.runner.failures import Unavailable
from schemas.origin import Origin

Connection = psycopg.AsyncConnection[TupleRow]
Connect = Callable[[], Awaitable[Connection]]

#: A frozen worker must not hold its row, a dead network must be noticed, a statement must end.
LANE_OPTIONS: dict[str, Any] = {
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
        "-c timezone=UTC -c client_encoding=UTF8 -c jit=off"
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


#: Origins as a table k (p, o, n), of what `places` gives: arrays are read at half of what a JSON of them costs.
PLACES = "unnest(%s::int[], %s::bigint[], %s::int[]) as k(p, o, n)"


def places(origins: Collection[Origin]) -> tuple[str, str, str]:
    """For PLACES: partitions, offsets and ordinals, each as one text, as `uuids`."""
    columns = ([o.partition for o in origins], [o.offset for o in origins], [o.ordinal for o in origins])
    partitions, offsets, ordinals = [f"{{{','.join(map(str, column))}}}" for column in columns]
    return partitions, offsets, ordinals


#: What COPY's binary format begins and ends with.
_BEGIN, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_length = Struct(">i").pack
_NULL = _length(-1)
_EPOCH, _MICROSECOND = datetime(2000, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


async def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
    """Write new rows by COPY, at half of what an INSERT costs. `rows` are in its binary format, each with its number of
    columns first: PostgreSQL takes them for two thirds of what text costs, and nothing has to be escaped.

    Raises Unavailable where one of them is there: another lane wrote it since it was looked for, and whoever starts
    again will find it.
    """
    # All of it first: what is frozen within a COPY keeps its locks until another lane calls `end_frozen`.
    written = b"".join((_BEGIN, *rows, _END))
    into = f"copy {table} ({', '.join(columns)}) from stdin (format binary)"
    try:
        async with connection.cursor().copy(into.encode()) as copy:
            await copy.write(written)
    except UniqueViolation as error:
        raise Unavailable(f"{table} raced") from error


def varying(*values: bytes | None) -> bytes:
    """Columns of no fixed size, as COPY reads them: each after its length. A jsonb is its text after JSONB."""
    return b"".join([_NULL if value is None else _length(len(value)) + value for value in values])


#: The version of the format in which COPY reads a jsonb.
JSONB = b"\x01"


def uuid(id: str) -> bytes:
    """As COPY reads it. Raises ValueError: what is of another length PostgreSQL would call a broken connection."""
    found = bytes.fromhex(id.replace("-", ""))
    if len(found) != 16:
        raise ValueError("not a uuid")
    return found


def since_2000(at: datetime) -> int:
    """A timestamptz, as COPY reads it: microseconds."""
    return (at - _EPOCH) // _MICROSECOND


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


async def take_time(connection: Connection) -> None:
    """For this transaction: statements about somebody of whom very much is known may take as long as they take. What
    else waits for them is told that PostgreSQL is not available, and tries again."""
    await connection.execute("set local statement_timeout = 0")
