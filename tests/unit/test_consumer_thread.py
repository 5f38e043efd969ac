"""What the consumer's thread does where Kafka does not take a commit, and how it asks for several lanes' records."""

import asyncio
import gc
from collections.abc import Collection
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from processors.runner import consumer_thread
from processors.runner.consumer_thread import ConsumerThread
from processors.runner.pace import LARGE_RECORDS

PLACE = TP("tracks", 0)
PLACES = [TP("tracks", partition) for partition in range(3)]


def thread(answer: Any) -> ConsumerThread:
    """A thread's object without Kafka: aiokafka's coordinator, whose requests `answer` answers."""
    coordinator = object.__new__(GroupCoordinator)
    coordinator.group_id, coordinator.coordinator_id = "validate", 1
    coordinator.generation, coordinator.member_id = 1, "member"
    coordinator._send_req, coordinator._rejoin_needed_fut = answer, asyncio.get_running_loop().create_future()
    made = object.__new__(ConsumerThread)
    made.assignment = lambda: {PLACE}
    consumer = SimpleNamespace(_coordinator=coordinator)
    made._ensure_consumer = lambda: consumer
    return made


async def test_a_commit_that_kafka_refuses_is_tried_once_and_does_not_end_the_worker():
    asked = []

    async def refuse(request: Any) -> Any:
        asked.append(request)
        raise GroupLoadInProgressError

    assert not await thread(refuse)._commit({PLACE: 7})
    assert len(asked) == 1


async def test_a_commit_without_an_answer_is_given_up_and_what_comes_of_it_later_troubles_nobody(monkeypatch: Any):
    monkeypatch.setattr(consumer_thread, "COMMIT_S", 0.01)
    heard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context))
    late = asyncio.Event()

    async def refuse_late(request: Any) -> Any:
        await late.wait()
        raise GroupLoadInProgressError

    assert not await thread(refuse_late)._commit({PLACE: 7})
    late.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    assert heard == []


async def test_what_is_not_assigned_any_more_is_not_committed():
    async def fail(request: Any) -> Any:
        raise AssertionError(request)

    assert not await thread(fail)._commit({TP("tracks", 1): 7})


async def test_who_has_to_join_its_group_again_commits_nothing_meanwhile():
    """An answer that comes after it has joined would throw its new membership away."""

    async def fail(request: Any) -> Any:
        raise AssertionError(request)

    made = thread(fail)
    made._ensure_consumer()._coordinator.request_rejoin()
    assert not await made._commit({PLACE: 7})


class Asked:
    """In the place of Faust's fetch: what comes of each question, and with which wait and size it was asked."""

    def __init__(self, *answers: dict[TP, list[Any]]) -> None:
        self._answers = list(answers)
        self.questions: list[tuple[set[TP], int, int]] = []
        self.fetcher = SimpleNamespace(_fetch_max_wait_ms=250, _fetch_min_bytes=1, _fetch_max_bytes=50_000_000)
        subscription = SimpleNamespace(
            assigned_partitions=lambda: set(PLACES), resume=str, pause=str, is_assigned=lambda tp: True
        )
        self.consumer = SimpleNamespace(
            _fetcher=self.fetcher, _subscription=subscription, _max_poll_records=3000, last_stable_offset=lambda tp: 0
        )

    async def fetch(self, consumer: Any, partitions: set[TP], *args: Any, **kwargs: Any) -> Any:
        self.questions.append((partitions, self.fetcher._fetch_max_wait_ms, self.fetcher._fetch_min_bytes))
        return self._answers.pop(0)

    def _method(self) -> Any:
        return lambda thread, *args, **kwargs: self.fetch(*args, **kwargs)

    async def ask(self, monkeypatch: pytest.MonkeyPatch, gathers: bool = True, quiet: Collection[TP] = ()) -> Any:
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", self._method())
        self.thread = made = object.__new__(ConsumerThread)
        made.gathers = gathers
        made._brought = {tp: monotonic() - (60 if tp in quiet else 0) for tp in PLACES}
        return await made._fetch_records(self.consumer, set(PLACES), timeout=5.0, max_records=3000)


def records(partition: int, count: int = 1) -> dict[TP, list[Any]]:
    return {PLACES[partition]: [SimpleNamespace(offset=number) for number in range(count)]}


async def test_few_records_of_one_partition_come_with_what_comes_of_the_others_just_then(
    monkeypatch: pytest.MonkeyPatch,
):
    asked = Asked(records(0), records(1) | records(2))
    assert await asked.ask(monkeypatch) == records(0) | records(1) | records(2)
    (every, *_), (others, wait_ms, least) = asked.questions
    assert (every, others) == (set(PLACES), {PLACES[1], PLACES[2]})
    assert (wait_ms, least) == (consumer_thread.GATHER_MS, 50_000_000)
    assert (asked.fetcher._fetch_max_wait_ms, asked.fetcher._fetch_min_bytes) == (250, 1)


async def test_partitions_to_which_nothing_has_come_of_late_are_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    asked = Asked(records(0), records(1))
    await asked.ask(monkeypatch, quiet=[PLACES[2]])
    assert [partitions for partitions, *_ in asked.questions] == [set(PLACES), {PLACES[1]}]


@pytest.mark.parametrize(
    ("first", "gathers"),
    [
        (records(0, LARGE_RECORDS), True),
        (records(0) | records(1) | records(2), True),
        ({}, True),
        (records(0), False),
    ],
    ids=["many records", "records of all", "nothing", "records that no lane does together with others'"],
)
async def test_the_others_are_not_waited_for_where_that_gains_nothing(
    first: dict[TP, list[Any]], gathers: bool, monkeypatch: pytest.MonkeyPatch
):
    asked = Asked(first)
    assert await asked.ask(monkeypatch, gathers) == first
    assert len(asked.questions) == 1


@pytest.mark.parametrize(
    ("brought", "left", "behind"),
    [
        (3000, 501, True),
        (3000, 499, False),
        (20, 20, True),
        (20, 19, False),
        (1, 8, True),
        (1, 7, False),
        (1, 0, False),
    ],
)
async def test_who_leaves_more_than_it_could_bring_is_behind(
    brought: int, left: int, behind: bool, monkeypatch: pytest.MonkeyPatch
):
    """A fetch is bounded in bytes, too: of large payloads it brings few, however many there are."""
    asked = Asked(records(0, brought))
    asked.consumer.last_stable_offset = lambda tp: brought + left
    await asked.ask(monkeypatch, gathers=False)
    assert asked.thread.behind is behind
