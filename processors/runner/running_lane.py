"""A lane at work: the batches that wait for it, when they are joined, when it rests, when its partition is paused."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from faust.types import TP

from processors.runner.fail_points import Reach, nowhere
from processors.runner.lane import Lane
from processors.runner.stage import Stage
from processors.runner.transport import Batch, BatchConsumer

#: Fetches that wait in a lane before its partition is paused.
QUEUED_FETCHES = 2
#: A lane rests this many times as long as its last batch took, unless that was a large one. So batches are small while
#: there is time, and grow by themselves when the machine is busy, instead of many small ones keeping it busy.
REST_FACTOR = 6.0
MAX_REST_S = 0.15


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
    ) -> None:
        self._lane, self._tp, self._consumer, self._reach = lane, tp, consumer, reach
        self._gather, self._full, self._ended = stage.gather, stage.max_records // 2, ended
        self._waiting: deque[Any] = deque()
        self._offered = asyncio.Event()
        self._paused = self._dead = False
        self._task = asyncio.create_task(self._run(), name=str(lane.key))

    def offer(self, event: Any) -> None:
        """Queue a batch; pause the partition when enough of them wait, so that memory stays bounded."""
        if self._dead:  # it may have been resumed after it ended: Faust resumes all partitions after an assignment
            self._consumer.pause_partitions({self._tp})
            return
        self._waiting.append(event)
        self._offered.set()
        if self._waiting_is_full():
            self._pause()

    async def end(self) -> None:
        """Stop at once. What was not committed never happened."""
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._lane.close()

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            await self._lane.recover()
            while True:
                events = await self._next()
                started = clock()
                await self._lane.process(_joined(events))
                self._reach("before-acknowledge")
                for event in events:
                    event.ack()
                self._reach("after-acknowledge")
                if _count(events) < self._full and not self._waiting_is_full():
                    await asyncio.sleep(min(MAX_REST_S, REST_FACTOR * (clock() - started)))
        except Exception as error:
            self._dead = True
            self._waiting.clear()
            self._ended(self._tp, error)

    async def _next(self) -> list[Any]:
        """The fetches that make up the next batch: those that wait; for a stage that gathers, as many as it wants."""
        events = [await self._take()]
        deadline = asyncio.get_running_loop().time() + (self._gather.seconds if self._gather else 0)
        while not self._is_enough(events):
            if not self._waiting and not await self._offered_before(deadline):
                break
            if self._waiting[0].value.start != events[-1].value.end:
                break
            events.append(self._waiting.popleft())
        return events

    def _is_enough(self, events: list[Any]) -> bool:
        return _size(events) >= self._gather.bytes if self._gather else _count(events) >= self._full

    async def _offered_before(self, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                await self._offer_comes()
        except TimeoutError:
            return False
        return True

    async def _take(self) -> Any:
        while not self._waiting:
            await self._offer_comes()
        return self._waiting.popleft()

    async def _offer_comes(self) -> None:
        self._offered.clear()
        if self._paused:
            self._paused = False
            self._consumer.resume_partitions({self._tp})
        await self._offered.wait()

    def _waiting_is_full(self) -> bool:
        if self._gather is not None:
            return _size(list(self._waiting)) >= self._gather.bytes
        return len(self._waiting) >= QUEUED_FETCHES

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._consumer.pause_partitions({self._tp})


def _joined(events: list[Any]) -> Batch:
    first: Batch = events[0].value
    if len(events) == 1:
        return first
    records = [record for event in events for record in event.value.records]
    return Batch(first.tp, first.start, records, events[-1].value.topic_id)


def _count(events: list[Any]) -> int:
    return sum(len(event.value.records) for event in events)


def _size(events: list[Any]) -> int:
    return sum(len(record.value or b"") for event in events for record in event.value.records)
