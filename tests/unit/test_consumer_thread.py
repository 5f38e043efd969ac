"""What the consumer's thread does where Kafka does not take a commit."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError
from faust.types import TP

from processors.runner import consumer_thread
from processors.runner.consumer_thread import ConsumerThread

PLACE = TP("tracks", 0)


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
