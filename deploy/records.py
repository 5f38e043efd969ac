"""What topics hold: read to their present end, or for ever. Names of topics are without the prefix."""

from collections import Counter
from collections.abc import Iterator, Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from deploy.kafka import KafkaAdmin
from schemas.topics import full_name


def read(
    admin: KafkaAdmin, topic: str, starts: Mapping[int, int] | None = None, only: int | None = None
) -> Iterator[Message]:
    """What a topic holds now, from these offsets on by partition, or from the beginning; of all partitions or `only`
    one."""
    ends = {partition: end for (_, partition), end in admin.end_offsets([topic]).items() if only in (None, partition)}
    starting = {partition: (starts or {}).get(partition, OFFSET_BEGINNING) for partition in ends}
    left = {partition for partition, end in ends.items() if starting[partition] < end}
    for message in _from(admin, topic, {partition: starting[partition] for partition in left}) if left else ():
        if message.error() is None:
            yield message
            continue
        left.discard(message.partition())
        if not left:
            return


def last(admin: KafkaAdmin, topic: str, limit: int) -> list[Message]:
    """The last records of a topic as it is now, by time; those of one time as they lie in their partition."""
    ends, begins = admin.end_offsets([topic]), admin.begin_offsets(topic)
    back = limit
    while True:
        back *= 2  # half of the places of transactions of one record are their markers; compaction leaves gaps, too
        starts = {partition: max(begins.get(partition, 0), end - back) for (_, partition), end in ends.items()}
        found = list(read(admin, topic, starts))
        counts = Counter(message.partition() for message in found)
        if all(counts[partition] >= limit or start <= begins.get(partition, 0) for partition, start in starts.items()):
            return sorted(found, key=lambda message: message.timestamp()[1])[-limit:] if limit else []


def read_all(admin: KafkaAdmin, topic: str) -> Iterator[bytes]:
    """The values of all records that a topic holds now."""
    return (value for message in read(admin, topic) if (value := message.value()) is not None)


def coming(admin: KafkaAdmin, topic: str, starts: Mapping[int, int]) -> Iterator[Message]:
    """What comes to a topic from these offsets on, for ever."""
    return (message for message in _from(admin, topic, starts) if message.error() is None)


def _from(admin: KafkaAdmin, topic: str, starts: Mapping[int, int]) -> Iterator[Message]:
    """Records, and for each end of a partition that is reached a message that says so in its error."""
    consumer = Consumer(
        {
            **admin.kafka,
            "group.id": f"{admin.prefix}headwater-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    name = full_name(admin.prefix, topic)
    consumer.assign([TopicPartition(name, partition, start) for partition, start in starts.items()])
    try:
        while True:
            for message in consumer.consume(1000, 0.2):
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                yield message
    finally:
        consumer.close()
