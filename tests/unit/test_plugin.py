"""A destination of somebody else's making: what it raises, and what its settings may be."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from processors.connectors.outlet import Outlet
from processors.connectors.plugin import Config, DestinationPlugin, PluginOutlet, Refused, problem
from processors.runner.failures import Poison, Unavailable
from schemas.definitions.outbound import Destination
from schemas.profiles import Delivery


class QueueConfig(Config):
    """`room`: how much it takes."""

    room: int = 2


class Queue(DestinationPlugin[QueueConfig]):
    """Takes as much as there is room."""

    name = "queue"
    Config = QueueConfig

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    async def deliver(self, deliveries: Sequence[Delivery], config: QueueConfig, secrets: Mapping[str, str]) -> None:
        for delivery in deliveries:
            if delivery.body.get("bad"):
                raise Refused
            if len(self.taken) == config.room:
                raise OSError("full")
            if delivery.body.get("closed"):
                raise asyncio.CancelledError
            self.taken.append((delivery.id, secrets["token"]))


def destination(**fields: Any) -> Destination:
    return Destination(id="q", type="queue", secrets={"token": "t"}, **fields)


def outlet(queue: Queue, **fields: Any) -> Outlet:
    known = destination(**fields)
    return Outlet(lambda: known, {"queue": PluginOutlet(queue, lambda: known, lambda secret: secret.value or "")})


def delivery(number: int, **body: Any) -> Delivery:
    return Delivery(id=f"d{number}", destination="q", profile="p", version=number, body=body)


async def test_it_gets_the_deliveries_its_settings_and_its_secrets():
    queue = Queue()
    await outlet(queue, config={"room": 5}).deliver([delivery(number) for number in range(5)])
    assert queue.taken == [(f"d{number}", "t") for number in range(5)]


async def test_what_it_refuses_is_a_dead_letter_and_what_it_cannot_take_now_waits():
    with pytest.raises(Poison, match="refused_by_destination"):
        await outlet(Queue()).deliver([delivery(0, bad=True)])
    with pytest.raises(Unavailable):
        await outlet(Queue()).deliver([delivery(number) for number in range(3)])


async def test_what_it_waited_for_may_be_cancelled_and_so_may_it_itself():
    with pytest.raises(Unavailable):
        await outlet(Queue()).deliver([delivery(0, closed=True)])
    delivering = asyncio.create_task(outlet(Queue()).deliver([delivery(0, closed=True)]))
    delivering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivering


async def test_without_its_package_deliveries_wait():
    known = destination()
    with pytest.raises(Unavailable, match="not installed"):
        await Outlet(lambda: known, {}).deliver([delivery(0)])


def test_what_is_wrong_with_its_settings_is_said():
    plugins = {"queue": Queue()}
    assert problem(destination(), plugins) is None
    assert problem(destination(config={"room": "much"}), plugins) == (
        "config.room: Input should be a valid integer, unable to parse string as an integer"
    )
    assert "is its package installed?" in (problem(destination(), {}) or "")
