"""A lane at work: the batches that wait for it, when they are joined, when its partition is paused."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from faust.types import TP

from processors.runner.fail_points import Reach, nowhere
from processors.runner.lane import Lane
from processors.runner.stage import Stage
from processors.runner.together import Together
from processors.runner.transport import Batch, BatchConsumer

#: Bytes that make a batch large enough, and that may wait in a lane before its partition is paused. A payload may grow
#: to many times its size in work: each of its events carries its context.
ENOUGH_BYTES = 2 * 2**20
#: What a record takes beside its content.
RECORD_BYTES = 300
#: A lane to which nothing comes for so long forgets what it delivered last.
IDLE_S = 10.0


class _Offered:
    """Batches as Faust hands them over, in order, and their size."""

    def __init__(self) -> None:
        self.events: deque[Any] = deque()
        self._sizes: deque[int] = deque()
        self.records = self.bytes = 0

    def add(self, event: Any, size: int) -> None:
        """`size`: of its records, in bytes."""
        self.events.append(event)
        self._sizes.append(size)
        self.records += len(event.value.records)
        self.bytes += size

    def take(self) -> tuple[Any, int]:
        """The first of them, and its size."""
        event, size = self.events.popleft(), self._sizes.popleft()
        self.records -= len(event.value.records)
        self.bytes -= size
        return event, size

    def joined(self) -> Batch:
        """All of them as one batch."""
        first: Batch = self.events[0].value
        if len(self.events) == 1:
            return first
        records = [record for event in self.events for record in event.value.records]
        return Batch(first.tp, first.start, records, self.events[-1].value.topic_id)


def _bytes(record: Any) -> int:
    size = RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
    return size + sum(len(value or b"") for _, value in record.headers) if record.headers else size


class RunningLane:
    """A lane and the batches that wait for it."""

    def __init__(
        self,
        lane: Lane,
        tp: TP,
        consumer: BatchConsumer,
        stage: Stage,
        ended: Callable[[TP, BaseException], None],
        reach: Reach = nowhere,
        together: Together | None = None,
    ) -> None:
        """`together`: who does small batches of this lane and of others as one."""
        self._together = together
        self._lane, self._tp, self._consumer, self._reach = lane, tp, consumer, reach
        self._gather, self._ended = stage.gather, ended
        #: A stage that waits for others outside does not keep its machine busy, and a slow receiver only its own lane.
        self._at_work: Callable[[int], AbstractContextManager[None]] = (
            (lambda records: nullcontext()) if stage.outside else consumer.pace.work
        )
        self._enough_records, self._enough_bytes = max(1, stage.max_records // 2), ENOUGH_BYTES
        if stage.gather is not None:
            self._enough_records, self._enough_bytes = sys.maxsize, stage.gather.bytes
        self._waiting, self._offered = _Offered(), asyncio.Event()
        self._paused = self._dead = self._ending = False
        self._task = asyncio.create_task(self._run(), name=str(lane.key))

    def offer(self, event: Any) -> None:
        """Queue a batch; pause the partition when enough of them wait, so that memory stays bounded."""
        if self._dead:  # it may have been resumed after it ended: Faust resumes all partitions after an assignment
            self._consumer.pause_partitions({self._tp})
            return
        self._waiting.add(event, sum(map(_bytes, event.value.records)))
        self._offered.set()
        if self._are_enough(self._waiting) and not self._paused:
            self._paused = True
            self._consumer.pause_partitions({self._tp})

    async def end(self) -> None:
        """Stop at once. What was not committed never happened."""
        self._ending = True
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._lane.close()

    async def _run(self) -> None:
        try:
            await self._lane.recover()
            while True:
                offered = await self._next()
                with self._at_work(offered.records):
                    await self._process(offered.joined(), offered.bytes)
                self._reach("before-acknowledge")
                for event in offered.events:
                    event.ack()
                self._reach("after-acknowledge")
        except (Exception, asyncio.CancelledError) as error:
            if self._ending:
                raise
            self._dead = True
            self._waiting = _Offered()
            self._ended(self._tp, error)

    async def _process(self, batch: Batch, size: int) -> None:
        if self._together is None:
            await self._lane.process(batch)
        else:
            await self._together.process(self._lane, batch, size)

    async def _next(self) -> _Offered:
        """The fetches that make up the next batch: those that wait; for a stage that gathers, as many as it wants."""
        offered = _Offered()
        offered.add(*await self._take())
        deadline = asyncio.get_running_loop().time() + (self._gather.seconds if self._gather else 0)
        while not self._are_enough(offered):
            if not self._waiting.events and not await self._offered_before(deadline):
                break
            if self._waiting.events[0].value.start != offered.events[-1].value.end:
                break
            offered.add(*self._waiting.take())
        self._resume()  # the next ones come while these are in work
        return offered

    def _are_enough(self, offered: _Offered) -> bool:
        return offered.records >= self._enough_records or offered.bytes >= self._enough_bytes

    async def _offered_before(self, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                await self._offer_comes()
        except TimeoutError:
            return False
        return True

    async def _take(self) -> tuple[Any, int]:
        if not self._waiting.events and not await self._offered_before(asyncio.get_running_loop().time() + IDLE_S):
            await self._lane.idle()
        while not self._waiting.events:
            await self._offer_comes()
        return self._waiting.take()

    async def _offer_comes(self) -> None:
        self._offered.clear()
        self._resume()
        await self._offered.wait()

    def _resume(self) -> None:
        if self._paused and not self._are_enough(self._waiting):
            self._paused = False
            self._consumer.resume_partitions({self._tp})
