"""How a lane at work joins, pauses and resumes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from processors.runner import pace as pacing
from processors.runner import running_lane as module
from processors.runner.pace import Pace
from processors.runner.running_lane import RunningLane
from processors.runner.stage import Gather, Stage
from processors.runner.transport import Batch

PLACE = TP("tracks", 0)


class FakeLane:
    """Notes what it is given; a batch takes until `go_on` is set."""

    key = "fake"

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []
        self.idled = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: BaseException | None = None

    async def recover(self) -> None: ...

    async def idle(self) -> None:
        self.idled += 1

    async def process(self, batch: Batch) -> None:
        self.batches.append((batch.start, batch.end))
        if self.error is not None:
            raise self.error
        await self.go_on.wait()

    async def close(self) -> None: ...


class FakeConsumer:
    def __init__(self) -> None:
        self.paused = False
        self.pace = Pace()

    def pause_partitions(self, partitions: set[TP]) -> None:
        self.paused = True

    def resume_partitions(self, partitions: set[TP]) -> None:
        self.paused = False


class Bench:
    """A running lane between a fake lane and a fake consumer."""

    def __init__(self, stage: Stage) -> None:
        self.lane, self.consumer, self.acknowledged = FakeLane(), FakeConsumer(), 0
        self.errors: list[BaseException] = []
        self.running = RunningLane(
            self.lane,  # type: ignore[arg-type]
            PLACE,
            self.consumer,  # type: ignore[arg-type]
            stage,
            lambda tp, error: self.errors.append(error),
        )

    def offer(self, start: int, end: int, size: int = 1) -> None:
        records = [
            SimpleNamespace(offset=offset, key=None, value=b"x" * size, headers=()) for offset in range(start, end)
        ]
        event = SimpleNamespace(value=Batch(PLACE, start, records, "id"), ack=self._acknowledge)
        self.running.offer(event)

    def _acknowledge(self) -> None:
        self.acknowledged += 1

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - nothing tells when a task has come so far
                await asyncio.sleep(0)


def stage(max_records: int = 200, gather: Gather | None = None) -> Stage:
    async def step(models: Any) -> list[Any]:
        return []

    return Stage("fake", (), step, gather=gather, max_records=max_records)


@asynccontextmanager
async def bench(made: Stage) -> AsyncIterator[Bench]:
    found = Bench(made)
    try:
        yield found
    finally:
        await found.running.end()


@pytest.mark.parametrize(
    ("came", "batches"),
    [(((3, 5), (5, 9)), [(3, 9)]), (((3, 5), (8, 9)), [(3, 5), (8, 9)])],
    ids=["what follows is joined", "what does not is a batch of its own"],
)
async def test_what_came_while_a_batch_was_in_work_is_joined_where_it_follows(
    came: Sequence[tuple[int, int]], batches: list[tuple[int, int]]
):
    async with bench(stage()) as it:
        it.lane.go_on.clear()
        it.offer(0, 3)
        await it.until(lambda: it.lane.batches)
        for start, end in came:
            it.offer(start, end)
        it.lane.go_on.set()
        await it.until(lambda: it.acknowledged == 3)
        assert it.lane.batches == [(0, 3), *batches]


async def test_a_batch_takes_no_more_than_is_enough():
    async with bench(stage(max_records=20)) as it:
        it.lane.go_on.clear()
        it.offer(0, 1)
        await it.until(lambda: it.lane.batches)
        for start in range(1, 31, 6):
            it.offer(start, start + 6)
        it.lane.go_on.set()
        await it.until(lambda: it.acknowledged == 6)
        assert it.lane.batches == [(0, 1), (1, 13), (13, 25), (25, 31)]


async def test_a_partition_is_paused_while_enough_waits_and_resumed_once_that_is_in_work():
    async with bench(stage(max_records=20)) as it:
        it.lane.go_on.clear()
        it.offer(0, 1)
        await it.until(lambda: it.lane.batches)
        it.offer(1, 9)
        assert not it.consumer.paused
        it.offer(9, 12)
        assert it.consumer.paused
        it.lane.go_on.set()
        await it.until(lambda: it.acknowledged == 3)
        assert not it.consumer.paused


async def test_few_large_records_are_enough_too():
    async with bench(stage()) as it:
        it.lane.go_on.clear()
        it.offer(0, 1)
        await it.until(lambda: it.lane.batches)
        it.offer(1, 5, size=module.ENOUGH_BYTES // 5)
        assert not it.consumer.paused
        it.offer(5, 6, size=module.ENOUGH_BYTES // 5)
        assert it.consumer.paused


async def test_a_stage_that_gathers_waits_for_its_bytes():
    async with bench(stage(gather=Gather(bytes=1200, seconds=60))) as it:
        for start in range(3):
            it.offer(start, start + 1, size=30)
        await asyncio.sleep(0)
        assert it.lane.batches == []
        it.offer(3, 4, size=30)
        await it.until(lambda: it.acknowledged == 4)
        assert it.lane.batches == [(0, 4)]


async def test_a_stage_that_gathers_takes_what_there_is_when_its_time_is_over():
    async with bench(stage(gather=Gather(bytes=100, seconds=0.05))) as it:
        it.offer(0, 2)
        await it.until(lambda: it.acknowledged == 1)
        assert it.lane.batches == [(0, 2)]


async def test_a_lane_that_ended_keeps_its_partition_paused_and_takes_nothing():
    async with bench(stage()) as it:

        async def fail(batch: Batch) -> None:
            raise KeyError("x")

        it.lane.process = fail  # type: ignore[method-assign]
        it.offer(0, 1)
        await it.until(lambda: it.errors)
        it.offer(1, 2)
        assert it.consumer.paused
        assert it.acknowledged == 0


async def test_what_a_lane_has_worked_on_counts_by_its_records():
    async with bench(stage()) as it:
        it.offer(0, 7)
        await it.until(lambda: it.acknowledged)
        assert it.consumer.pace._records == 7


@pytest.mark.parametrize("outside", [False, True])
async def test_while_a_lane_works_its_worker_fetches_nothing_unless_it_waits_for_others_outside(
    outside: bool, monkeypatch: pytest.MonkeyPatch
):
    """A slow receiver delays only its own lane."""
    monkeypatch.setattr(pacing, "MAX_WAIT_S", 60.0)
    async with bench(replace(stage(), outside=outside)) as it:
        it.lane.go_on.clear()
        it.offer(0, 1)
        await it.until(lambda: it.lane.batches)
        it.consumer.pace.fetched(1, 1, least_s=0.001)
        resting = asyncio.create_task(it.consumer.pace.rest())
        done, _ = await asyncio.wait({resting}, timeout=5 if outside else 0.05)
        assert bool(done) is outside
        it.lane.go_on.set()
        async with asyncio.timeout(5):
            await resting


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_whatever_ends_a_lane_is_told(error: BaseException):
    """What a step waited for may have been cancelled: that is not the lane's end."""
    async with bench(stage()) as it:
        it.lane.error = error
        it.offer(0, 3)
        await it.until(lambda: it.errors)
        assert (it.errors, it.acknowledged) == ([error], 0)


async def test_a_lane_that_is_ended_tells_nothing():
    async with bench(stage()) as it:
        it.lane.go_on.clear()
        it.offer(0, 3)
        await it.until(lambda: it.lane.batches)
    assert it.errors == []


async def test_a_lane_to_which_nothing_comes_is_told_so_once_and_works_on_when_something_does(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "IDLE_S", 0.02)
    async with bench(stage()) as it:
        await it.until(lambda: it.lane.idled)
        await asyncio.sleep(0.1)
        assert it.lane.idled == 1
        it.offer(0, 3)
        await it.until(lambda: it.acknowledged)
        assert it.lane.batches == [(0, 3)]
