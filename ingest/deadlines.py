"""A deadline for many short waits: one look a second at all of them, where a timer for each would cost more than most
of them take."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

LOOK_EVERY_S = 1.0


class Deadlines:
    """Ends waits that take longer than `seconds`, at most a second late. Made on the event loop that waits."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._loop = seconds, asyncio.get_running_loop()
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._loop.call_later(LOOK_EVERY_S, self._look)

    async def keep(self, waiting: Awaitable[T]) -> T:
        """What comes of it. Raises TimeoutError."""
        task = asyncio.current_task()
        assert task is not None
        self._due[task] = self._loop.time() + self._seconds
        try:
            return await waiting
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel() > 0:  # somebody else wants it to end
                raise
            raise TimeoutError from None
        finally:
            del self._due[task]
            self._late.discard(task)

    def _look(self) -> None:
        self._loop.call_later(LOOK_EVERY_S, self._look)
        now = self._loop.time()
        for task, due in self._due.items():
            if due <= now and task not in self._late:
                self._late.add(task)
                task.cancel()
