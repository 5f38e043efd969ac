"""Fail points: the process dies at a named place, to prove that nothing is lost by it. Off unless a test sets one."""

import os
import re
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from deploy.settings import SettingsError
from processors.runner.fail_points import Reach, nowhere
from processors.storage.database import Connection

_RUNNER = ("decode", "lock", "step", "insert", "copy", "checkpoint", "commit", "produce", "report", "acknowledge")
_DOOR = ("door-produce", "door-report")
#: Every place: before and after each of these.
FAIL_POINTS = tuple(f"{when}-{place}" for place in (*_RUNNER, *_DOOR) for when in ("before", "after"))
#: The exit code of a process that died at one.
DIED = 86
_WRITES = re.compile(r"\b(insert into|update \w|delete from)")


def fail_point(setting: str) -> Reach:
    """What HEADWATER_FAILPOINT asks for: `NAME[:N[:HOW]]`, at the N-th passage, once.

    HOW: `die` (as kill -9 would), `stop` (SIGSTOP), `lose` (the answer of PostgreSQL is lost). Raises SettingsError.
    """
    if not setting:
        return nowhere
    name, number, how, *rest = *setting.split(":"), *("1", "die")[setting.count(":") :]
    if rest or name not in FAIL_POINTS or not number.isdigit() or how not in _HOW:
        raise SettingsError(f"HEADWATER_FAILPOINT {setting}: NAME[:N[:HOW]], as after-commit:1:die")
    return _FailPoint(name, int(number), how).reach


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


class _FailPoint:
    """Counts passages; two threads may pass at once."""

    def __init__(self, name: str, number: int, how: str) -> None:
        self._name, self._left, self._how = name, number, how
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left:
                return
        _HOW[self._how]()


def _die() -> None:
    os._exit(DIED)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _lose() -> None:
    raise psycopg.OperationalError("the answer was lost, as a fail point asked for")


_HOW = {"die": _die, "stop": _stop, "lose": _lose}
