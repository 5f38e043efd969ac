"""When a worker asks Kafka for more: its lanes work at the same time, and rest at the same time.

What a process does after others had its core costs several times what it costs in a row. Lanes that work beside each
other share that, and one fetch brings the records of all of them.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

#: A batch of fewer records earns a rest, so that more come together: what a batch costs beside its records is what some
#: 250 of them cost. Such batches may be worked on one part in so many of the time, and so much of it may be saved up
#: while nothing comes: single events go through at once, and a stream of them comes in batches that grow with how busy
#: the machine is, instead of ever more small ones that keep it busy.
LARGE_RECORDS = 500
WORKS_ONE_IN, SAVED_S, MAX_REST_S = 3.0, 0.1, 0.2
#: After a fetch that brought something the next one waits, so that it brings more: a fetch costs as much as dozens of
#: records. At least this long, longer after many records, and no longer.
MIN_WAIT_S, WAIT_A_RECORD_S, MAX_WAIT_S = 0.01, 0.001, 0.05


class Budget:
    """How much time small batches may take."""

    def __init__(self, now: float) -> None:
        self._at, self._saved = now, SAVED_S

    def rest_after(self, records: float, started: float, now: float) -> float:
        """Seconds of rest, for batches of so many records that were worked on from `started` until `now`."""
        self._saved = min(SAVED_S, self._saved + (now - self._at) / WORKS_ONE_IN)
        self._at = now
        if records >= LARGE_RECORDS:
            return 0.0
        self._saved -= (1 - records / LARGE_RECORDS) * (now - started)
        rest = min(MAX_REST_S, max(0.0, -self._saved * WORKS_ONE_IN))
        # What is not rested is forgotten: a long batch must not be paid for for ever.
        self._saved = max(self._saved, -MAX_REST_S / WORKS_ONE_IN)
        return rest


class Pace:
    """One worker's: its lanes tell when they work, its consumer waits before it fetches again."""

    def __init__(self) -> None:
        self._began = self._rest_until = monotonic()
        self._budget = Budget(self._began)
        self._at_work = self._batches = self._records = 0
        self._quiet = asyncio.Event()
        self._wait_s, self._brought_few = 0.0, True

    @contextmanager
    def work(self, records: int) -> Iterator[None]:
        """Around a lane's work on a batch."""
        if not self._at_work:
            self._began, self._batches, self._records = monotonic(), 0, 0
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._batches += 1
            self._records += records
            if not self._at_work:
                now = monotonic()
                self._rest_until = now + self._budget.rest_after(self._records / self._batches, self._began, now)
                self._quiet.set()

    def joined(self, lanes: int) -> None:
        """What so many lanes are at work on was one batch."""
        self._batches -= lanes - 1

    def fetched(self, records: int, lanes: int, least_s: float = 0.0, behind: bool = False) -> None:
        """A fetch brought so many, for so many lanes. `least_s`: how long the next one waits at least, of a stage that
        sets a rhythm. Of one that is `behind` it hardly waits: it brings as much as it can anyway, and that would be
        all there is in that time."""
        usual_s = min(MAX_WAIT_S, max(MIN_WAIT_S, WAIT_A_RECORD_S * records))
        self._wait_s = MIN_WAIT_S if behind else max(least_s, usual_s)
        self._brought_few = not behind and records < LARGE_RECORDS * lanes

    async def rest(self) -> None:
        """Before a fetch, after one that brought something: let more come. Where it was few, let the lanes be done,
        unless they take long, and rest."""
        wait_s, self._wait_s = self._wait_s, 0.0
        if not wait_s:
            return
        await asyncio.sleep(wait_s)
        if not self._brought_few:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_WAIT_S):
                while self._at_work:
                    self._quiet.clear()
                    await self._quiet.wait()
        if (left := self._rest_until - monotonic()) > 0:
            await asyncio.sleep(left)
