"""Connections to PostgreSQL, as lanes and tools need them."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import psycopg
from psycopg.rows import TupleRow

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
    options = (
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
