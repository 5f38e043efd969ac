"""Writes messages to Kafka and waits until every one of them is acknowledged by all in-sync replicas."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from processors.runner.fail_points import Reach, nowhere
from processors.runner.failures import Fenced, Unavailable
from schemas.codecs import Message

#: Acknowledged by all replicas, never given up on one by one: a later message of the same key must not overtake.
#: Nothing is sent before it is asked for, and then all at once: librdkafka's idempotent producer keeps a core busy for
#: as long as five messages of a partition are under way and others are due (2.16, `msgs_inflight`).
SAFE = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "linger.ms": 1000,
    "compression.type": "lz4",
    "message.max.bytes": 2_097_152,
    "batch.size": 1_000_000,
}
#: What is asked for at once, in bytes: so much fits into one request, to whatever partitions it goes, and is not more
#: than the 10,000 messages that do. And what a message takes beside its content.
PORTION_BYTES, MESSAGE_BYTES = 950_000, 100


class Publishes(Protocol):
    """What a lane needs of a publisher."""

    async def open(self) -> None:
        """Be ready to publish; a fenced publisher shuts out whoever published under its name before."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when all are acknowledged. Raises Unavailable, Fenced, or what no retry can mend."""

    async def release(self) -> None:
        """The lane is done with it."""


class PermanentDeliveryFailure(Exception):
    """Kafka refused a message for good. The process must end: what was committed could not be sent."""


class Publisher:
    """Publishes for all lanes of a process.

    A batch has a producer to itself while it is under way: then the batch is delivered when the producer's queue is
    empty, and no message needs a report of its own, which would cost as much as sending it.
    """

    def __init__(self, kafka: Mapping[str, Any], prefix: str = "", reach: Reach = nowhere, ready: int = 1) -> None:
        """`ready` producers connect at once: how many batches will be under way together."""
        self._prefix, self._reach = prefix, reach
        self._config = {
            **SAFE,
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": 500_000,
            "delivery.report.only.error": True,
            **kafka,
        }
        self._ready = ready
        self._idle = [self._made() for _ in range(ready)]
        self._threads = ThreadPoolExecutor(64, "publish")
        self._closed = False

    def _made(self) -> tuple[Producer, list[KafkaError]]:
        """A producer, and what it says of messages that Kafka refused: told once, a report a message costs half as much
        as sending it."""
        refused: list[KafkaError] = []
        return Producer({**self._config, "on_delivery": lambda error, message: refused.append(error)}), refused

    async def open(self) -> None:
        """Nothing to prepare."""

    async def release(self) -> None:
        """Other lanes go on with it."""

    async def publish(self, messages: Sequence[Message]) -> None:
        if messages:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._deliver, messages)

    def _deliver(self, messages: Sequence[Message]) -> None:
        producer, refused = self._idle.pop() if self._idle else self._made()
        for portion in portions(messages):
            for message in portion:
                produce(producer, self._prefix, message)
            self._reach("before-report")
            while producer.flush(0.5):
                if self._closed:
                    raise Unavailable("kafka")
            self._reach("after-report")
            if refused:
                raise PermanentDeliveryFailure(refused[0].name())
        if len(self._idle) < self._ready:  # more were made while Kafka was away, and go
            self._idle.append((producer, refused))

    def close(self) -> None:
        """No more messages; nothing that was awaited is left."""
        self._closed = True


_FENCED = (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)


class FencedPublisher:
    """A lane's own producer, its transactional.id used purely as a fence: opening it shuts out the previous owner."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        prefix: str,
        name: str,
        reach: Reach = nowhere,
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        """`threads`: where it waits for Kafka; as many lanes as are slow at a time take one each."""
        self._prefix, self._reach, self._threads = prefix, reach, threads
        self._config = {
            **SAFE,
            "transactional.id": f"{prefix}{name}",
            "transaction.timeout.ms": 30_000,
            **kafka,
        }
        self._producer: Producer | None = None

    async def open(self) -> None:
        await self.release()
        self._producer = Producer(self._config)
        await self._in_thread(lambda: self._opened().init_transactions(30))

    async def publish(self, messages: Sequence[Message]) -> None:
        if messages:
            await self._in_thread(lambda: self._transact(messages))

    async def _in_thread(self, call: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._guarded, call)

    async def release(self) -> None:
        """Let the producer go, with its sockets and threads; left to the garbage collector they pile up."""
        gone, self._producer = [self._producer], None
        # Its end waits for its threads, and nobody waits for its end.
        threading.Thread(target=gone.clear, name="producer's end", daemon=True).start()

    def _opened(self) -> Producer:
        if self._producer is None:
            raise Unavailable("kafka transaction")
        return self._producer

    def _transact(self, messages: Sequence[Message]) -> None:
        producer = self._opened()
        producer.begin_transaction()
        for number, portion in enumerate(portions(messages)):
            if number:
                producer.flush(30)
            for message in portion:
                produce(producer, self._prefix, message)
        self._reach("before-report")
        producer.commit_transaction(30)
        self._reach("after-report")

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() in _FENCED or (error.code() == KafkaError._FATAL and self._is_fenced()):
                raise Fenced(error.name()) from exception
            if error.fatal():
                raise PermanentDeliveryFailure(error.name()) from exception
            # Whatever became of the transaction, a new producer of the same name aborts what is left of it.
            self._producer = None
            raise Unavailable("kafka transaction") from exception

    def _is_fenced(self) -> bool:
        """Of a producer that has failed for good: while records are handed to it, it says no more than that."""
        try:
            self._opened().abort_transaction(1)
        except KafkaException as exception:
            return exception.args[0].code() in _FENCED
        return False


def portions(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages in order, as many at a time as fit into a request. One that does not fit beside others is alone."""
    start = size = 0
    for at, message in enumerate(messages):
        more = MESSAGE_BYTES + len(message.value or b"") + len(message.key or b"")
        if message.headers:
            more += sum(len(name) + len(value) for name, value in message.headers)
        if at > start and size + more > PORTION_BYTES:
            yield messages[start:at]
            start, size = at, 0
        size += more
    yield messages[start:]


def produce(producer: Producer, prefix: str, message: Message) -> None:
    """Hand one message to librdkafka, as soon as its queue has room."""
    while True:
        try:
            if not message.headers:
                return producer.produce(prefix + message.topic, message.value, message.key)
            return producer.produce(prefix + message.topic, message.value, message.key, headers=list(message.headers))
        except BufferError:
            producer.poll(0.01)
