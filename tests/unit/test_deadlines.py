"""A wait that takes too long ends; others, and other reasons to end, are as they were."""

import asyncio

import pytest

from ingest.deadlines import Deadlines


async def test_a_wait_that_takes_too_long_ends_with_a_timeout_and_its_task_goes_on():
    with pytest.raises(TimeoutError):
        await Deadlines(0.1).keep(asyncio.sleep(60))
    await asyncio.sleep(0)  # the task is not cancelled any more


async def test_a_wait_that_ends_in_time_gives_its_value_and_is_forgotten():
    deadlines = Deadlines(60)
    assert await deadlines.keep(asyncio.sleep(0, "value")) == "value"
    assert not deadlines._due


async def test_an_error_of_the_wait_comes_through():
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Deadlines(60).keep(fail())


async def test_a_task_that_somebody_else_cancels_is_cancelled():
    task = asyncio.create_task(Deadlines(60).keep(asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_each_of_many_waits_has_its_own_deadline():
    deadlines = Deadlines(0.1)
    slow = [asyncio.create_task(deadlines.keep(asyncio.sleep(60))) for _ in range(20)]
    quick = [asyncio.create_task(deadlines.keep(asyncio.sleep(0.01, "quick"))) for _ in range(20)]
    found = await asyncio.gather(*slow, *quick, return_exceptions=True)
    assert [type(one) for one in found[:20]] == [TimeoutError] * 20
    assert found[20:] == ["quick"] * 20


async def test_a_task_that_is_cancelled_as_its_time_is_over_is_cancelled():
    deadlines = Deadlines(0)
    task = asyncio.create_task(deadlines.keep(asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    deadlines._look()
    with pytest.raises(asyncio.CancelledError):
        await task
