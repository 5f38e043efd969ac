"""Fail points in what a stage writes to PostgreSQL. Only where a test sets one."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from processors.runner.fail_points import Reach
from processors.storage.database import Connection

_WRITES = re.compile(r"\b(insert into|update \w|delete from)")


def failing_connections(reach: Reach) -> type[Connection]:
    """Connections that pass before-insert and after-insert at every statement with which a step writes, and before-copy
    and after-copy while one of them waits for its rows, or for their end."""

    class FailingCursor(psycopg.AsyncCursor[TupleRow]):
        @asynccontextmanager
        async def copy(self, *args: Any, **kwargs: Any) -> AsyncIterator[psycopg.AsyncCopy]:
            reach("before-insert")
            async with super().copy(*args, **kwargs) as copy:
                reach("before-copy")
                yield copy
                reach("after-copy")
            reach("after-insert")

    class Failing(psycopg.AsyncConnection[TupleRow]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.cursor_factory = FailingCursor

        async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            text = query if isinstance(query, str) else bytes(query).decode()
            writes = _WRITES.search(text) is not None and "stage_progress" not in text
            if writes:
                reach("before-insert")
            cursor = await super().execute(query, *args, **kwargs)
            if writes:
                reach("after-insert")
            return cursor

    return Failing
