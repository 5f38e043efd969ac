"""When a worker rests, and when it fetches again."""

import asyncio
from time import monotonic

import pytest

from processors.runner import pace as module
from processors.runner.pace import Budget, Pace


async def rest_after(pace: Pace, records: int, lanes: int) -> None:
    """What is to be done between two fetches: in time, or the test fails."""
    pace.fetched(records, lanes, least_s=0.001)
    async with asyncio.timeout(5):
        await pace.rest()


def test_batches_that_come_now_and_then_need_no_rest():
    budget, now = Budget(0), 0.0
    for _ in range(50):
        now += 0.1
        assert budget.rest_after(3, now - 0.01, now) == 0


@pytest.mark.parametrize(("took", "records", "share"), [(0.01, 0, 1 / 3), (0.02, 250, 2 / 3)])
def test_a_worker_that_is_always_busy_with_small_batches_works_its_part_of_the_time(
    took: float, records: int, share: float
):
    budget, now, worked = Budget(0), 0.0, 0.0
    for _ in range(1000):
        rest = budget.rest_after(records, now, now + took)
        worked, now = worked + took, now + took + rest
    assert worked / now == pytest.approx(share, rel=0.05)


def test_no_rest_is_longer_than_it_may_be_and_none_follows_a_large_batch():
    budget = Budget(0)
    assert budget.rest_after(1, 0, 5) == pytest.approx(0.2)
    assert budget.rest_after(1, 5.2, 5.2) < 0.01, "a long batch was paid for"
    assert budget.rest_after(500, 6, 9) == 0


async def test_after_a_fetch_that_brought_nothing_the_next_follows_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MIN_WAIT_S", 60.0)
    pace = Pace()
    async with asyncio.timeout(5):
        await pace.rest()
        pace.fetched(1, 1, least_s=0.001)
        await pace.rest()
        await pace.rest()


async def test_the_next_fetch_waits_for_all_lanes_and_for_the_rest_that_they_earned(monkeypatch: pytest.MonkeyPatch):
    """So the records of all lanes come together, and lanes work together."""
    monkeypatch.setattr(module, "SAVED_S", 0.0)
    monkeypatch.setattr(module, "MAX_WAIT_S", 60.0)
    pace, go_on = Pace(), asyncio.Event()

    async def work(records: int) -> None:
        with pace.work(records):
            await go_on.wait()

    lanes = [asyncio.create_task(work(records)) for records in (1, 3)]
    await asyncio.sleep(0)
    pace.fetched(4, 2, least_s=0.001)
    resting = asyncio.create_task(pace.rest())
    done, _ = await asyncio.wait({resting}, timeout=0.05)
    assert not done, "a lane is at work"
    worked_until = monotonic()
    go_on.set()
    await asyncio.gather(*lanes)
    async with asyncio.timeout(5):
        await resting
    assert monotonic() - worked_until >= 0.09, "they worked at least 0.05 s, with nothing saved: it is to be a third"


@pytest.mark.parametrize(
    ("longest_s", "records", "lanes"),
    [(0.01, 1, 1), (60.0, 1000, 2)],
    ids=["a lane that takes long", "a fetch that brought much"],
)
async def test_not_every_fetch_waits_for_who_is_at_work(
    longest_s: float, records: int, lanes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_WAIT_S", longest_s)
    pace = Pace()
    with pace.work(records):
        await rest_after(pace, records, lanes)


async def test_how_large_batches_are_is_what_they_have_each_not_all_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SAVED_S", 0.0)
    pace = Pace()
    with pace.work(300), pace.work(300):
        await asyncio.sleep(0.02)
    assert pace._rest_until > monotonic(), "300 are no large batch"


async def test_of_lanes_that_worked_together_it_is_what_they_had_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SAVED_S", 0.0)
    pace = Pace()
    with pace.work(300), pace.work(300):
        await asyncio.sleep(0.02)
        pace.joined(2)
    assert pace._rest_until <= monotonic(), "600 are a large batch"


async def test_who_is_behind_waits_for_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_WAIT_S", 60.0)
    pace = Pace()
    with pace.work(1):
        pace.fetched(1, 1, least_s=60.0, behind=True)
        async with asyncio.timeout(5):
            await pace.rest()


@pytest.mark.parametrize(
    ("records", "least_s", "waits"),
    [(1, 0.0, 0.01), (40, 0.0, 0.04), (5000, 0.0, 0.05), (1, 0.03, 0.03), (40, 0.03, 0.04), (5000, 0.5, 0.5)],
)
def test_the_more_a_fetch_brought_the_longer_the_next_one_waits_within_bounds(
    records: int, least_s: float, waits: float
):
    pace = Pace()
    pace.fetched(records, 1, least_s)
    assert pace._wait_s == pytest.approx(waits)


def test_a_quiet_night_does_not_pay_for_a_busy_hour():
    budget, now, worked = Budget(0), 10_000.0, 0.0
    for _ in range(100):
        rest = budget.rest_after(0, now, now + 0.01)
        worked, now = worked + 0.01, now + 0.01 + rest
    assert worked / (now - 10_000) < 0.4


async def test_a_lane_that_fails_is_at_work_no_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_WAIT_S", 60.0)
    pace = Pace()
    with pytest.raises(KeyError), pace.work(1):
        raise KeyError("x")
    await rest_after(pace, 1, 1)
