"""How fast a destination is called: not faster than it bears, and hardly while it does not answer."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MAX_BACKOFF_S = 30.0
#: Failures in a row, whosever deliveries they are, from which on one call at a time finds out whether it is back.
OPENS_AFTER = 5


class Pace:
    """Spreads calls evenly over time."""

    def __init__(self) -> None:
        self._next = 0.0

    async def wait(self, rate_per_s: float | None) -> None:
        """Until the next call may be made."""
        if rate_per_s is None:
            return
        now = asyncio.get_running_loop().time()
        at, self._next = max(now, self._next), max(now, self._next) + 1 / rate_per_s
        if at > now:
            await asyncio.sleep(at - now)


class Circuit:
    """Closed while a destination answers. Open, one call at a time is made, after growing pauses."""

    def __init__(self) -> None:
        self._failures = self._pauses = 0
        self._not_before = 0.0
        self._probe = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self._failures >= OPENS_AFTER

    @asynccontextmanager
    async def turn(self, until: float | None = None) -> AsyncIterator[None]:
        """Held while a call is made. Raises TimeoutError where it is open and there is no turn `until` then (the loop's
        time)."""
        if not self.is_open:
            yield
            return
        async with asyncio.timeout_at(until):
            await self._probe.acquire()
        try:
            pause_s = self._not_before - asyncio.get_running_loop().time()
            if self.is_open and pause_s > 0:  # nobody has got through since
                async with asyncio.timeout_at(until):
                    await asyncio.sleep(pause_s)
            yield
        finally:
            self._probe.release()

    def succeeded(self) -> None:
        """A call was answered: whatever the answer was, somebody is there."""
        self._failures = self._pauses = 0

    def failed(self, wait_s: float) -> None:
        """A call was not answered, or with "later": then nobody calls before so many seconds."""
        self._failures += 1 if not wait_s else OPENS_AFTER
        now = asyncio.get_running_loop().time()
        if self.is_open and now >= self._not_before:  # else it began before the pause, as others did
            self._pauses += 1
            self._not_before = now + max(wait_s, backoff(self._pauses - 1))


def backoff(tries: int) -> float:
    """Seconds before the next of several tries: growing, and different for everybody."""
    return float(min(MAX_BACKOFF_S, 0.5 * 2.0 ** max(0, min(tries, 7))) * random.uniform(0.5, 1))
