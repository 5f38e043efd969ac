"""Kafka's administration: topics from the catalogue, their ids, offsets, and how consumer groups stand."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from deploy.kafka_access import librdkafka_access
from deploy.settings import Settings
from processors.runner.failures import Unavailable
from schemas.topics import Topic, full_name

TIMEOUT_S = 10
#: How long one attempt to ask what a lane wants to know may take.
ANSWER_S = 2
#: The same of a consumer group, whose coordinator is to be found first: some seven answers, one after another.
GROUP_ANSWER_S = 5
#: What is said of a partition whose leader is elected, or is not the one that was asked.
_LEADERLESS = (
    *(KafkaError._NOENT, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION),
    *(KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.UNKNOWN_TOPIC_OR_PART),
)
#: What is said of a group whose coordinator is chosen.
_NO_COORDINATOR = (
    *(KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS),
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)
#: The most that librdkafka takes.
NEVER_GIVE_UP_S = 3600
Answer = TypeVar("Answer")


#: What a client of somebody else's Kafka is told: as ours are.
OTHER_KAFKA: Mapping[str, Any] = {"log_level": 2, "log.connection.close": False}


def client_config(settings: Settings) -> dict[str, Any]:
    """What every librdkafka client of ours is told. It logs only what is fatal: outages we report ourselves."""
    return {"bootstrap.servers": settings.kafka, **librdkafka_access(settings), **OTHER_KAFKA}


class KafkaAdmin:
    """Blocking calls raise KafkaException where Kafka does not answer in time, the others Unavailable."""

    def __init__(self, kafka: Mapping[str, Any], prefix: str) -> None:
        self._admin = AdminClient(dict(kafka))
        self.kafka, self.prefix = dict(kafka), prefix
        #: Group to who asks for what it has told Kafka; kept, because to find its coordinator takes several answers.
        self._asking: dict[str, Consumer] = {}

    def create_topics(self, topics: Iterable[Topic], partitions: int, replication: int) -> list[str]:
        """Make those that are missing; their names. What exists is left as it is."""
        existing = self.existing()
        missing = [topic for topic in topics if self.prefix + topic.name not in existing]
        if not missing:
            return []
        made = self._admin.create_topics([_new_topic(t, self.prefix, partitions, replication) for t in missing])
        for future in made.values():
            try:
                future.result(TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        return [topic.name for topic in missing]

    def existing(self) -> dict[str, int]:
        """Topics and how many partitions they have, names with prefix."""
        try:
            topics = self._admin.list_topics(timeout=TIMEOUT_S).topics
        except KafkaException:
            self._admin.poll(0)  # has told by now if we are not let in
            raise
        return {name: len(topic.partitions) for name, topic in topics.items()}

    async def topic_id(self, name: str) -> str:
        """The id that Kafka gave this topic when it was made; `name` with prefix. Raises Unavailable."""
        asked = TopicCollection([name])
        return await self._ask(
            lambda admin: admin.describe_topics(asked, request_timeout=ANSWER_S)[name],
            lambda described: str(described.topic_id),
        )

    async def beginning(self, name: str, partition: int) -> int:
        """The first offset that exists; `name` with prefix. Raises Unavailable.

        A lane's own consumer would answer when its fetch has come back, which waits for records.
        """
        place = TopicPartition(name, partition)
        asked = {place: OffsetSpec.earliest()}  # type: ignore[no-untyped-call]
        return await self._ask(lambda admin: admin.list_offsets(asked, request_timeout=ANSWER_S)[place], _offset)

    async def committed_by(self, group: str, name: str, partition: int) -> int | None:
        """What a consumer group has told Kafka of its position, None for nothing; `group` and `name` with prefix.
        Raises Unavailable."""
        try:
            found = await asyncio.to_thread(self._committed, group, [TopicPartition(name, partition)], GROUP_ANSWER_S)
        except KafkaException as error:
            raise Unavailable("kafka") from error
        return found[0].offset if found else None

    def _committed(self, group: str, places: list[TopicPartition], within_s: float) -> list[TopicPartition]:
        """Those of the places for which the group has told one, with it; names with prefix. Raises KafkaException.

        As a consumer asks: librdkafka's admin client ends the whole process where the group's coordinator is found
        after such a question has timed out (an assertion; 2.16, its issue 4605).
        """
        consumer = self._asking.pop(group, None) or Consumer({**self.kafka, "group.id": group})
        until = time.monotonic() + within_s
        while True:
            try:
                found = consumer.committed(places, within_s)
                break
            except KafkaException as error:
                if error.args[0].code() not in _NO_COORDINATOR or time.monotonic() > until:
                    raise
                time.sleep(0.1)
        if refused := [place.error for place in found if place.error is not None]:
            raise KafkaException(refused[0])
        self._asking[group] = consumer  # one that got no answer is given up
        return [place for place in found if place.offset >= 0]

    async def _ask(self, question: Callable[[AdminClient], "Future[Any]"], read: Callable[[Any], Answer]) -> Answer:
        """What is read in the answer. Raises Unavailable, also where `read` raises KafkaException.

        librdkafka asks the broker that it knows as controller, and while that one is dead it waits for it at a core's
        full load, now and then for good though all are back (measured): so it may not wait long. It does not learn from
        a refusal who leads a partition since an election (2.16), and would ask the former one, or by its former
        epoch, for minutes. So a client is thrown away unless it was only asked for a topic that does not exist.
        """
        asked = self._admin
        future = question(asked)
        try:
            return read(await asyncio.wrap_future(future))
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART and self._admin is asked:
                self._admin = AdminClient(dict(self.kafka))
            gone = [asked]
            del asked, future
            await asyncio.to_thread(gone.clear)  # a client's end waits for its threads
            raise Unavailable("kafka") from error

    def end_offsets(self, topics: Collection[str]) -> dict[tuple[str, int], int]:
        """(topic without prefix, partition) to the offset behind its last committed record."""
        return self._offsets(topics, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """The first offset that exists, by partition; `topic` without prefix."""
        found = self._offsets([topic], OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        return {partition: offset for (_, partition), offset in found.items()}

    def _offsets(self, topics: Collection[str], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        """Asks again while partitions have no leader, or another one than was known: after they were made, or an
        election."""
        until, names = time.monotonic() + TIMEOUT_S, {full_name(self.prefix, topic): topic for topic in topics}
        while True:
            existing = self.existing()
            asked = {TopicPartition(name, number): spec for name in names for number in range(existing.get(name, 0))}
            if not asked:
                return {}
            try:
                futures = self._admin.list_offsets(
                    asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S
                )
                return {(names[tp.topic], tp.partition): _offset(f.result(TIMEOUT_S)) for tp, f in futures.items()}
            except KafkaException as error:
                if error.args[0].code() not in _LEADERLESS or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def told(self, groups: Mapping[str, Collection[str]]) -> dict[tuple[str, str, int], int]:
        """What consumer groups have told Kafka of their positions in the topics that they read, by group, topic and
        partition; names without prefix."""
        existing, found = self.existing(), {}
        for group, topics in groups.items():
            names = {full_name(self.prefix, topic): topic for topic in topics}
            places = [TopicPartition(name, number) for name in names for number in range(existing.get(name, 0))]
            for place in self._committed(self.prefix + group, places, TIMEOUT_S) if places else ():
                found[group, names[place.topic], place.partition] = place.offset
        return found

    def settled(self, groups: Mapping[str, Collection[str]]) -> bool:
        """Whether each group (name without prefix, with the topics it reads) is stable and has all partitions. Raises
        TimeoutError too."""
        existing = self.existing()
        # Given up by whoever waits, not by librdkafka, for the reason in `_committed`.
        futures = self._admin.describe_consumer_groups(
            [self.prefix + group for group in groups], request_timeout=NEVER_GIVE_UP_S
        )
        for name, future in futures.items():
            group = future.result(TIMEOUT_S)
            wanted = sum(existing.get(full_name(self.prefix, topic), 0) for topic in groups[name[len(self.prefix) :]])
            held = sum(len(member.assignment.topic_partitions) for member in group.members if member.assignment)
            if group.state != ConsumerGroupState.STABLE or held < wanted:
                return False
        return True

    def delete_records(self, before: Mapping[tuple[str, int], int]) -> None:
        """Delete what lies below these offsets; (topic without prefix, partition) to the first that stays."""
        asked = [
            TopicPartition(full_name(self.prefix, topic), partition, offset)
            for (topic, partition), offset in before.items()
        ]
        for future in self._admin.delete_records(asked, request_timeout=TIMEOUT_S).values():
            future.result(TIMEOUT_S)


def _offset(found: Any) -> int:
    """Of a partition that was asked for its offset. Where its leader does not answer, librdkafka tells -1001, and no
    error (2.16): raises the KafkaException that it should be."""
    if found.offset < 0:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return int(found.offset)


def _new_topic(topic: Topic, prefix: str, partitions: int, replication: int) -> NewTopic:
    config = {
        "cleanup.policy": "delete",
        "retention.ms": str(topic.retention_ms),
        "max.message.bytes": str(topic.max_bytes + 65_536),
        "compression.type": "producer",
        # The broker's clock is what we call received_at. By the writer's a record could expire before it was read, or
        # be refused as from the future.
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2" if replication > 2 else "1",
        **topic.config,
    }
    return NewTopic(
        prefix + topic.name,
        num_partitions=topic.partitions or partitions,
        replication_factor=replication,
        config=config,
    )


def kafka_admin(settings: Settings) -> KafkaAdmin:
    """Of the installation that the settings name."""
    return KafkaAdmin(client_config(settings), settings.topic_prefix)
