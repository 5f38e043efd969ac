"""What operators ask Kafka, on a real one."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.embedded.kafka import EmbeddedKafka
from deploy.kafka import KafkaAdmin
from deploy.operations.written import written_at
from processors.runner.failures import Unavailable
from schemas.topics import TRACKS
from tests.kit.services import Services
from tests.kit.waiting import until


def test_when_records_were_written_is_found_for_several_places_of_a_partition_and_of_others(services: Services) -> None:
    kafka = {"bootstrap.servers": services.kafka.address, "log_level": 0}
    prefix = f"when-{time.time_ns()}-"
    admin = AdminClient(kafka)
    for created in admin.create_topics([NewTopic(prefix + "busy", 2, 1), NewTopic(prefix + "calm", 1, 1)]).values():
        created.result(10)
    producer, begun = Producer(kafka), int(time.time()) - 60
    for number in range(1000):
        producer.produce(prefix + "busy", b"x" * 50, partition=number % 2, timestamp=begun * 1000 + number)
    for number in range(10):
        producer.produce(prefix + "calm", b"x", timestamp=begun * 1000 + number)
    assert producer.flush(30) == 0
    places = {("busy", partition, offset) for partition in (0, 1) for offset in (0, 7, 499)} | {("calm", 0, 9)}
    busy = {place: (begun * 1000 + 2 * place[2] + place[1]) / 1000 for place in places if place[0] == "busy"}
    asked = KafkaAdmin(kafka, prefix)
    assert written_at(asked, places) == busy | {("calm", 0, 9): (begun * 1000 + 9) / 1000}
    # Nothing lies there: that one is left out, and only that one.
    assert written_at(asked, {("calm", 0, 10), ("busy", 0, 7)}) == {("busy", 0, 7): busy["busy", 0, 7]}


async def test_the_beginning_of_a_partition_is_the_first_record_that_was_not_deleted(services: Services) -> None:
    kafka = {"bootstrap.servers": services.kafka.address, "log_level": 0}
    prefix = f"beginning-{time.time_ns()}-"
    asked, admin = KafkaAdmin(kafka, prefix), AdminClient(kafka)
    admin.create_topics([NewTopic(prefix + "some", 2, 1)])[prefix + "some"].result(10)
    producer = Producer(kafka)
    for number in range(20):
        producer.produce(prefix + "some", b"x", partition=number % 2)
    assert producer.flush(30) == 0
    asked.delete_records({("some", 1): 7})
    assert [await asked.beginning(prefix + "some", partition) for partition in (0, 1)] == [0, 7]


async def _beginning(asked: KafkaAdmin) -> int:
    """Of tracks, as soon as it is told."""
    async with asyncio.timeout(60):
        while True:
            with suppress(Unavailable):
                return await asked.beginning("tracks", 0)
            await asyncio.sleep(0.1)


async def test_what_a_group_has_committed_is_told_and_that_it_has_not(services: Services) -> None:
    kafka = {"bootstrap.servers": services.kafka.address, "log_level": 0}
    prefix = f"committed-{time.time_ns()}-"
    asked, admin = KafkaAdmin(kafka, prefix), AdminClient(kafka)
    admin.create_topics([NewTopic(prefix + "some", 2, 1)])[prefix + "some"].result(10)
    group = prefix + "group"
    consumer = Consumer({**kafka, "group.id": group})
    consumer.commit(offsets=[TopicPartition(prefix + "some", 1, 0)], asynchronous=False)
    consumer.close()
    assert [await asked.committed_by(group, prefix + "some", partition) for partition in (0, 1)] == [None, 0]
    assert await asked.committed_by(prefix + "nobody", prefix + "some", 0) is None


async def test_a_broker_that_freezes_or_dies_after_it_was_known_gives_no_offsets_and_gives_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.kafka.TIMEOUT_S", 1)
    kafka = EmbeddedKafka(tmp_path / "kafka", heap_mb=512, short_lived=True)
    await asyncio.to_thread(kafka.start)
    try:
        asked = KafkaAdmin({"bootstrap.servers": kafka.address, "log_level": 0}, "")
        asked.create_topics([TRACKS], 1, 1)
        assert await _beginning(asked) == 0
        os.kill(kafka.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(kafka.pid).status() == psutil.STATUS_STOPPED)
        for _ in range(2):  # as it is known, and by a client that knows nothing
            with pytest.raises(Unavailable):
                await asked.beginning("tracks", 0)
        with pytest.raises(Unavailable):  # and not that nothing was committed
            await asked.committed_by("validate", "tracks", 0)
        for blocking in (asked.begin_offsets, lambda topic: asked.end_offsets([topic])):
            with pytest.raises(KafkaException):
                blocking("tracks")
        os.kill(kafka.pid, signal.SIGCONT)
        assert await _beginning(asked) == 0
        # As consumers ask: after a question of the admin client's that timed out, its coordinator's return may end the
        # process, which no test can make sure of here.
        assert await asked.committed_by("validate", "tracks", 0) is None
        kafka.kill()
        await asyncio.to_thread(kafka.start)
        assert await _beginning(asked) == 0  # though its leader was elected anew
    finally:
        kafka.kill()


async def test_who_asks_for_the_beginning_of_what_is_away_is_told_that_kafka_is_unavailable(services: Services) -> None:
    with pytest.raises(Unavailable):
        await KafkaAdmin({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "").beginning("tracks", 0)
    with pytest.raises(Unavailable):
        await KafkaAdmin({"bootstrap.servers": services.kafka.address, "log_level": 0}, "").beginning("not-there", 0)
