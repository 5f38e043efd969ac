"""Kafka or PostgreSQL goes away: the door says so, nothing is lost, nothing is poison, nothing counts twice."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener

from processors.runner.brokers import find_topics
from tests.faults.brokers import ProxiedServices
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import Installation
from tests.kit.waiting import until

pytestmark = pytest.mark.slow

DEFINITIONS = (
    SHOP
    + """
---
kind: rule
id: orders
event_type: order-completed
workflows: [sum]
---
kind: workflow
id: sum
nodes:
  add: {action: update-profile, config: {increment: {discs: event.properties.order.discs}}}
"""
)
STAGES = ("validate", "identify", "persist", "route", "run-workflows", "segment", "record-failures")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """With a Kafka and a PostgreSQL of its own: they will be broken."""
    services = ProxiedServices(tmp_path_factory.mktemp("fragile"))
    installation = None
    try:
        services.start()
        installation = Installation(services, tmp_path_factory.mktemp("installation"), DEFINITIONS)
        installation.start(*STAGES)
        installation.start_door()
        yield installation
    finally:
        if installation is not None:
            installation.close()
        services.kill()


def order(run: str, number: int) -> dict[str, Any]:
    properties = {"order": {"discs": number % 7 + 1, "total": 1.5}, "customer": {"id": f"c-{number % 20}"}}
    event = {"id": f"{run}-{number}", "type": "order-completed", "properties": properties}
    return payload("shop", event, session=f"{run}-session-{number % 40}")


class Client(threading.Thread):
    """Sends orders one after another, each until it gets a 2xx: as a good client does. `hurry` ends its pauses."""

    def __init__(self, shop: Installation, run: str, numbers: range, pause_s: float = 0.02) -> None:
        super().__init__()
        self._url, self._run, self._numbers, self._pause_s = shop.url, run, numbers, pause_s
        self.taken, self.refused = 0, 0
        self.hurry = threading.Event()
        self.other: set[int] = set()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            for number in self._numbers:
                while (status := client.post("/track", json=order(self._run, number)).status_code) != 200:
                    self.refused += 1
                    if status != 503:
                        self.other.add(status)
                    self.hurry.wait(0.1)
                self.taken += 1
                self.hurry.wait(self._pause_s)


def require_exact(shop: Installation, run: str, count: int) -> None:
    """All of a run's orders, each once, and nothing else."""
    assert shop.one("select count(*) from events where id like %s", f"{run}-%") == count
    assert shop.sql("select * from failures") == []
    assert shop.one("select sum(id_reused) from recorded_counts") == 0
    everything = shop.one("select count(*) from events")
    assert shop.one("select sum(count) from profile_counters") == everything
    discs = sum(number % 7 + 1 for number in range(count))
    found = shop.one("select sum((properties->'order'->>'discs')::numeric) from events where id like %s", f"{run}-%")
    assert found == discs
    total = shop.one("select sum((properties->'order'->>'discs')::numeric) from events")
    assert shop.one("select sum((totals->>'discs')::numeric) from profile_traits") == total
    shop.require_balance()


def test_postgresql_killed_in_the_middle_of_a_load_loses_nothing(shop: Installation) -> None:
    client = Client(shop, "database", range(600), 0.005)
    client.start()
    until(lambda: client.taken >= 150, 60, shop.tell)
    shop.services.postgres.kill()
    # The door needs no database.
    taken = client.taken
    until(lambda: client.taken >= taken + 100, 60, shop.tell)
    shop.services.postgres.start()
    until(lambda: client.taken >= taken + 200, 60, shop.tell)
    shop.services.postgres.stop()
    shop.services.postgres.start()
    client.hurry.set()
    client.join(120)
    assert (client.taken, client.refused, client.other) == (600, 0, set())
    shop.wait_through(90)
    require_exact(shop, "database", 600)
    assert all(child.running for child in shop.children.values()), shop.tell()


def test_while_kafka_is_away_the_door_says_503_in_time_and_afterwards_everything_goes_on(shop: Installation) -> None:
    client = Client(shop, "broker", range(300))
    client.start()
    until(lambda: client.taken >= 60, 60, shop.tell)
    shop.services.kafka.kill()
    started = time.monotonic()
    answer = shop.track(order("broker", 0))
    assert answer.status_code == 503
    assert answer.headers["retry-after"].isdigit()
    assert answer.json()["error"]["code"] == "kafka_unavailable"
    assert time.monotonic() - started < 12
    assert shop.get_status("/health") == 200
    assert shop.get_status("/ready") == 503
    shop.services.kafka.start()
    shop.wait_ready(60)
    # Every one is sent a second time, with the same ids: some were stored though the answer said 503.
    client.hurry.set()
    client.join(120)
    assert (client.taken, client.other) == (300, set())
    assert client.refused
    # Byte for byte as the client wrote it: that is what makes it the same event.
    again = [json.dumps(order("broker", number), separators=(",", ":")).encode() for number in range(300)]
    shop.write_all(again, key=b"again")
    until(lambda: not shop.lag(), 120, shop.tell)
    shop.wait_through(120)
    require_exact(shop, "broker", 300)
    assert shop.require_balance()["shop"]["duplicates"] >= 300


class Given(ConsumerRebalanceListener):  # type: ignore[misc]
    """Says when there is a partition."""

    def __init__(self) -> None:
        self.any = asyncio.Event()

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Nothing is kept of them."""

    def on_partitions_assigned(self, assigned: set[Any]) -> None:
        if assigned:
            self.any.set()


def test_a_consumer_that_begins_as_kafka_goes_away_has_its_partitions_when_it_is_back(shop: Installation) -> None:
    async def begin() -> set[Any]:
        topic = shop.prefix + "tracks"
        consumer = AIOKafkaConsumer(bootstrap_servers=shop.kafka, group_id=shop.prefix + "beginner")
        await consumer.start()
        find_topics(consumer._client)
        shop.services.kafka.kill()
        given = Given()
        consumer.subscribe([topic], listener=given)
        await consumer._client.force_metadata_update()  # it has asked in vain
        shop.services.kafka.start()  # not on a thread: it would die with that
        try:
            # Not aiokafka's five minutes: it leads its group, and gives out the partitions that it knows of.
            await asyncio.wait_for(given.any.wait(), 30)
            return consumer.assignment()
        finally:
            await consumer.stop()

    assert len(asyncio.run(begin())) == shop.partitions
    until(lambda: shop.track(payload("shop", {"type": "page-view"}, session="again")).status_code == 200, 60, shop.tell)


def test_an_answer_of_kafkas_that_is_lost_holds_a_worker_up_for_seconds_and_its_end_hardly(shop: Installation) -> None:
    assert isinstance(shop.services, ProxiedServices)
    proxy = shop.services.kafka.proxy
    shop.start("deliver", HEADWATER_KAFKA=shop.services.kafka_by_proxy, HEADWATER_SESSION_TIMEOUT_S="6")
    try:
        track(shop, "before")
        shop.wait_through()
        proxy.manner = "swallow"  # what Kafka answers now never comes, and nobody is told
        track(shop, "during")
        time.sleep(1)  # so long the network is broken
        proxy.manner = "pass"
        shop.wait_through(within_s=30)
        proxy.manner = "swallow"
        proxy.cut()  # those who connect again now wait for an answer to their first request
        track(shop, "at the end")
        time.sleep(1)  # as above
        assert shop.children["deliver"].terminate(10) == 0
    finally:
        proxy.manner = "pass"


def track(shop: Installation, session: str) -> None:
    assert shop.track(payload("shop", {"type": "page-view"}, session=session)).status_code == 200
