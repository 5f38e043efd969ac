"""New rows by COPY in its binary format, which PostgreSQL takes at two thirds of what text costs."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct

from psycopg.errors import UniqueViolation

from processors.runner.failures import Unavailable
from processors.storage.database import Connection

#: What COPY's binary format begins and ends with.
_BEGIN, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_length = Struct(">i").pack
_NULL = _length(-1)
_EPOCH, _MICROSECOND = datetime(2000, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


async def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
    """Write new rows by COPY, at half of what an INSERT costs. `rows` are in its binary format: each begins with the
    number of its columns.

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
