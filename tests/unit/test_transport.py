"""What the transport does with records that it fetched and may not hand on."""

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from processors.runner import pace as pacing
from processors.runner import transport
from processors.runner.pace import Pace
from processors.runner.transport import BatchConsumer

PLACE = TP("tracks", 0)


def consumer(fetches: list[dict[TP, list[Any]]], while_fetching: Any) -> BatchConsumer:
    """A consumer without Kafka: only what getmany touches."""
    made = object.__new__(BatchConsumer)
    made.app = SimpleNamespace(consumer_generation_id=1, topic_id=_topic_id, fetch_every_s=0.0)
    made._starts, made._seeks, made._stored, made._topic_ids = {PLACE: 100}, {}, {}, {}
    made._resumed, made.pace, made._thread = asyncio.Event(), Pace(), SimpleNamespace(behind=False)
    made.flow_active, made.sought, made._paused_partitions, made._slow = True, [], set(), set()
    made._get_active_partitions = lambda: {PLACE}
    made.assignment = lambda: {PLACE}

    async def fetch(**_: Any) -> dict[TP, list[Any]]:
        while_fetching(made)
        return fetches.pop(0)

    async def seek(wanted: dict[TP, int]) -> None:
        made.sought.append(dict(wanted))

    made._getmany, made.seek_wait = fetch, seek
    return made


async def _topic_id(topic: str) -> str:
    return "id"


def records(first: int, last: int) -> dict[TP, list[Any]]:
    return {PLACE: [SimpleNamespace(offset=n, timestamp=0, value=b"") for n in range(first, last)]}


async def test_what_was_fetched_when_a_rebalance_begins_is_sought_only_when_it_is_over(monkeypatch: Any):
    """By then the partition may be another worker's: a seek in between would end this one."""
    monkeypatch.setattr(BatchConsumer, "should_stop", False)

    def while_fetching(made: BatchConsumer) -> None:
        made.flow_active = False

    made = consumer([records(100, 150)], while_fetching)
    assert [one async for one in made.getmany(timeout=1)] == []
    assert (made.sought, made._seeks) == ([], {PLACE: 100})


async def test_a_fetch_that_spans_a_rebalance_is_fetched_again(monkeypatch: Any):
    monkeypatch.setattr(BatchConsumer, "should_stop", False)
    rebalances = [True, False]

    def while_fetching(made: BatchConsumer) -> None:
        if rebalances.pop(0):
            made.app.consumer_generation_id += 1

    made = consumer([records(100, 150), records(100, 150)], while_fetching)
    assert [one async for one in made.getmany(timeout=1)] == []
    found = [message.value async for _, message in made.getmany(timeout=1)]
    assert made.sought == [{PLACE: 100}]
    assert [(batch.start, batch.end) for batch in found] == [(100, 150)]


@pytest.mark.parametrize(
    ("gathers_s", "behind", "waits"),
    [(60.0, False, True), (60.0, True, False), (0.0, False, False)],
    ids=["a stage that gathers", "one that is behind", "any other"],
)
async def test_after_a_fetch_the_next_waits_as_long_as_the_stage_gathers_unless_it_is_behind(
    monkeypatch: Any, gathers_s: float, behind: bool, waits: bool
):
    """What a stage could not fetch in that time it would never catch up with."""
    monkeypatch.setattr(BatchConsumer, "should_stop", False)
    made = consumer([records(100, 101), records(101, 102)], lambda made: None)
    made.app.fetch_every_s, made._thread.behind = gathers_s, behind
    assert [batch async for batch in made.getmany(timeout=1)]
    fetching = asyncio.create_task(anext(made.getmany(timeout=1)))
    done, _ = await asyncio.wait({fetching}, timeout=0.3 if waits else 5)
    fetching.cancel()
    assert bool(done) is not waits


def paused(made: BatchConsumer, monkeypatch: pytest.MonkeyPatch, *partitions: int) -> list[TP]:
    """These partitions are, until they are resumed."""
    monkeypatch.setattr(BatchConsumer, "should_stop", False)
    monkeypatch.setattr(
        driver.Consumer, "resume_partitions", lambda made, tps: made._paused_partitions.difference_update(tps)
    )
    made._paused_partitions = {TP("tracks", partition) for partition in partitions}
    return sorted(made._paused_partitions)


@pytest.mark.parametrize("behind", [True, False])
async def test_who_is_behind_fetches_for_all_lanes_again_once_none_has_enough(
    behind: bool, monkeypatch: pytest.MonkeyPatch
):
    """A fetch for some of them might find nothing, and the others would wait for its end."""
    monkeypatch.setattr(transport, "MAX_WAIT_S", 60.0)
    made = consumer([records(100, 101)], lambda made: None)
    made._thread.behind = behind
    one, other = paused(made, monkeypatch, 1, 2)
    fetching = asyncio.create_task(anext(made.getmany(timeout=1)))
    done, _ = await asyncio.wait({fetching}, timeout=0.05)
    assert bool(done) is not behind
    made.resume_partitions({one})
    done, _ = await asyncio.wait({fetching}, timeout=0.05)
    assert bool(done) is not behind, "the other one has enough"
    made.resume_partitions({other})
    async with asyncio.timeout(5):
        assert await fetching


async def test_a_lane_that_stands_still_is_waited_for_once_until_it_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transport, "MAX_WAIT_S", 0.02)
    made = consumer([records(100, 101), records(101, 102)], lambda made: None)
    made._thread.behind = True
    [lane] = paused(made, monkeypatch, 1)
    async with asyncio.timeout(5):
        assert [batch async for batch in made.getmany(timeout=1)]
    monkeypatch.setattr(transport, "MAX_WAIT_S", 60.0)
    async with asyncio.timeout(5):
        await made._all_want_more()
    made.resume_partitions({lane})
    made._paused_partitions = {lane}
    waiting = asyncio.create_task(made._all_want_more())
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done, "it goes on: it is waited for again"
    waiting.cancel()


async def test_every_fetch_is_followed_by_a_pause_even_a_short_one(monkeypatch: Any):
    monkeypatch.setattr(BatchConsumer, "should_stop", False)
    monkeypatch.setattr(pacing, "MIN_WAIT_S", 60.0)
    monkeypatch.setattr(pacing, "MAX_WAIT_S", 60.0)
    made = consumer([records(100, 101), records(101, 102)], lambda made: None)
    assert [batch async for batch in made.getmany(timeout=1)]
    fetching = asyncio.create_task(anext(made.getmany(timeout=1)))
    done, _ = await asyncio.wait({fetching}, timeout=0.05)
    fetching.cancel()
    assert not done


async def test_nothing_is_fetched_while_the_worker_rests(monkeypatch: Any):
    monkeypatch.setattr(BatchConsumer, "should_stop", False)
    made = consumer([records(100, 150)], lambda made: None)
    made.pace.fetched(1, 1, least_s=60.0)
    fetching = asyncio.create_task(anext(made.getmany(timeout=1)))
    done, _ = await asyncio.wait({fetching}, timeout=0.05)
    fetching.cancel()
    assert not done


@pytest.mark.parametrize(("kafka_takes", "told"), [(True, {PLACE: 7}), (False, {})])
async def test_what_is_assigned_is_committed_until_kafka_has_taken_it(kafka_takes: bool, told: dict[TP, int]):
    made, asked = consumer([], None), []
    made._told, made._acked, made._acked_index = {}, defaultdict(list), defaultdict(set)

    async def commit(offsets: dict[TP, int]) -> bool:
        asked.append(offsets)
        return kafka_takes

    made._commit, made._handle_attached = commit, _nothing_attached
    made._stored = {PLACE: 7, TP("tracks", 1): 9}  # the other one was revoked
    places = [PLACE, TP("tracks", 1)]
    assert await made._commit_tps(places, start_new_transaction=False) is kafka_takes
    await made._commit_tps(places, start_new_transaction=False)
    assert asked == ([{PLACE: 7}] if kafka_takes else [{PLACE: 7}] * 2)
    assert made._told == told


async def test_nothing_is_committed_of_what_was_revoked():
    made = consumer([], None)
    made._told, made._acked, made._acked_index = {}, defaultdict(list), defaultdict(set)
    made._handle_attached, made._stored = _nothing_attached, {TP("tracks", 1): 9}
    assert not await made._commit_tps([TP("tracks", 1)], start_new_transaction=False)


async def _nothing_attached(offsets: dict[TP, int]) -> None:
    pass
