"""When records were written: looks at single records of many partitions."""

import time
from collections.abc import Collection
from contextlib import closing

from confluent_kafka import Consumer, TopicPartition

from deploy.kafka import KafkaAdmin
from schemas.topics import full_name

#: (topic without prefix, partition, offset)
Place = tuple[str, int, int]
#: A consumer that fetches little more than it must. Of less the broker would give one partition's, and the next one's
#: only later.
_ONE_RECORD = {
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "max.partition.fetch.bytes": 100_000,
    "queued.min.messages": 1,
}


def written_at(admin: KafkaAdmin, places: Collection[Place]) -> dict[Place, float]:
    """When the record at each place (or the next behind it that exists) was written, in seconds since 1970.

    A place is missing where nothing was read within two seconds.
    """
    found: dict[Place, float] = {}
    left = set(places)
    while left:
        # One place of a partition at a time, each time by a consumer of its own: one that is assigned anew takes up
        # to a second for it, or forgets a partition.
        asked = {(topic, partition): (topic, partition, offset) for topic, partition, offset in left}
        left -= set(asked.values())
        with closing(
            Consumer({**admin.kafka, **_ONE_RECORD, "group.id": f"{admin.prefix}headwater-reader"})
        ) as consumer:
            found |= _first_written(consumer, admin.prefix, asked)
    return found


def _first_written(consumer: Consumer, prefix: str, asked: dict[tuple[str, int], Place]) -> dict[Place, float]:
    found: dict[Place, float] = {}
    names = {full_name(prefix, topic): topic for topic, _, _ in asked.values()}
    consumer.assign([TopicPartition(full_name(prefix, topic), p, offset) for topic, p, offset in asked.values()])
    deadline = time.monotonic() + 2
    while len(found) < len(asked) and time.monotonic() < deadline:
        for message in consumer.consume(len(asked), 0.1):
            name = message.topic() or ""
            place = asked.get((names.get(name, ""), message.partition() or 0))
            if message.error() is None and place is not None and place not in found:
                found[place] = message.timestamp()[1] / 1000
                consumer.incremental_unassign([TopicPartition(name, place[1])])
    return found
