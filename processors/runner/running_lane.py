"""A lane at work: the batches that wait for it, when they are joined, when it rests, when its partition is paused."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, cast

from faust.types import TP

from processors.runner.fail_points import Reach, nowhere
from processors.runner.lane import Lane
from processors.runner.stage import Stage
from processors.runner.transport import Batch, BatchConsumer

#: Bytes that make a batch large enough, and that may wait in a lane before its partition is paused.
ENOUGH_BYTES = 4 * 2**20
#: A lane rests this many times as long as its last batch took, unless that was a large one. So batches are small while
#: there is time, and grow by themselves when the machine is busy, instead of many small ones keeping it busy.
REST_FACTOR = 6.0
MAX_REST_S = 0.15


class _Offered:
    """A batch as Faust hands it over, and its size."""

    def __init__(self, event: Any) -> None:
        self.event, self.batch = event, cast(Batch, event.value)
        self.records = len(self.batch.records)
        self.bytes = sum(len(record.value or b"") for record in self.batch.records)


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
        self._gather, self._ended = stage.gather, ended
        self._enough_records, self._enough_bytes = stage.max_records // 2, ENOUGH_BYTES
        if stage.gather is not None:
            self._enough_records, self._enough_bytes = sys.maxsize, stage.gather.bytes
        self._waiting: deque[_Offered] = deque()
        self._offered = asyncio.Event()
        self._paused = self._dead = False
        self._task = asyncio.create_task(self._run(), name=str(lane.key))

    def offer(self, event: Any) -> None:
        """Queue a batch; pause the partition when enough of them wait, so that memory stays bounded."""
        if self._dead:  # it may have been resumed after it ended: Faust resumes all partitions after an assignment
            self._consumer.pause_partitions({self._tp})
            return
        self._waiting.append(_Offered(event))
        self._offered.set()
        if self._are_enough(self._waiting) and not self._paused:
            self._paused = True
            self._consumer.pause_partitions({self._tp})

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
                offered = await self._next()
                started = clock()
                await self._lane.process(_joined(offered))
                self._reach("before-acknowledge")
                for one in offered:
                    one.event.ack()
                self._reach("after-acknowledge")
                if not self._are_enough(offered) and not self._are_enough(self._waiting):
                    await asyncio.sleep(min(MAX_REST_S, REST_FACTOR * (clock() - started)))
        except Exception as error:
            self._dead = True
            self._waiting.clear()
            self._ended(self._tp, error)

    async def _next(self) -> list[_Offered]:
        """The fetches that make up the next batch: those that wait; for a stage that gathers, as many as it wants."""
        offered = [await self._take()]
        deadline = asyncio.get_running_loop().time() + (self._gather.seconds if self._gather else 0)
        while not self._are_enough(offered):
            if not self._waiting and not await self._offered_before(deadline):
                break
            if self._waiting[0].batch.start != offered[-1].batch.end:
                break
            offered.append(self._waiting.popleft())
        self._resume()  # the next ones come while these are in work
        return offered

    def _are_enough(self, offered: Collection[_Offered]) -> bool:
        return (
            sum(one.records for one in offered) >= self._enough_records
            or sum(one.bytes for one in offered) >= self._enough_bytes
        )

    async def _offered_before(self, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                await self._offer_comes()
        except TimeoutError:
            return False
        return True

    async def _take(self) -> _Offered:
        while not self._waiting:
            await self._offer_comes()
        return self._waiting.popleft()

    async def _offer_comes(self) -> None:
        self._offered.clear()
        self._resume()
        await self._offered.wait()

    def _resume(self) -> None:
        if self._paused and not self._are_enough(self._waiting):
            self._paused = False
            self._consumer.resume_partitions({self._tp})


def _joined(offered: list[_Offered]) -> Batch:
    first = offered[0].batch
    if len(offered) == 1:
        return first
    records = [record for one in offered for record in one.batch.records]
    return Batch(first.tp, first.start, records, offered[-1].batch.topic_id)
