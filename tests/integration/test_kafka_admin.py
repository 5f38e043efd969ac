"""What operators ask Kafka, on a real one."""

import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.kafka import KafkaAdmin
from tests.kit.services import Services


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
    assert asked.written_at(places) == busy | {("calm", 0, 9): (begun * 1000 + 9) / 1000}
    # Nothing lies there: that one is left out, and only that one.
    assert asked.written_at({("calm", 0, 10), ("busy", 0, 7)}) == {("busy", 0, 7): busy["busy", 0, 7]}
