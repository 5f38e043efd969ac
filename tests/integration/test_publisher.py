"""How lanes write to Kafka, on a real one. The rest is in test_lane."""

import os
import time

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from processors.runner.failures import Fenced
from processors.runner.publisher import FencedPublisher, PermanentDeliveryFailure, Publisher
from schemas.codecs import Message
from tests.kit.services import Services


@pytest.mark.parametrize("count", [1, 20_000], ids=["one record", "more than go into a request"])
async def test_who_was_shut_out_is_told_so_however_much_it_writes(services: Services, count: int) -> None:
    kafka = {"bootstrap.servers": services.kafka.address, "log_level": 0}
    prefix, admin = f"fenced-{time.time_ns()}-", AdminClient(kafka)
    admin.create_topics([NewTopic(prefix + "some", 1, 1)])[prefix + "some"].result(10)
    first, second = (FencedPublisher(kafka, prefix, "lane") for _ in range(2))
    await first.open()
    await first.publish([Message("some", b"key", b"x")])
    await second.open()
    with pytest.raises(Fenced):
        await first.publish([Message("some", b"key", b"x" * 1000)] * count)
    await second.publish([Message("some", b"key", b"x")])
    for one in (first, second):
        await one.release()


async def test_what_kafka_refuses_for_good_is_no_outage(services: Services) -> None:
    kafka = {"bootstrap.servers": services.kafka.address, "log_level": 0}
    prefix, admin = f"refused-{time.time_ns()}-", AdminClient(kafka)
    small = NewTopic(prefix + "some", 1, 1, config={"max.message.bytes": "2000"})
    admin.create_topics([small])[prefix + "some"].result(10)
    publisher = Publisher(kafka, prefix)
    await publisher.publish([Message("some", b"key", b"x")] * 100)
    with pytest.raises(PermanentDeliveryFailure):
        await publisher.publish([Message("some", b"key", b"x"), Message("some", b"key", os.urandom(50_000))])
    publisher.close()
