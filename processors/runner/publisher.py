"""Writes messages to Kafka and waits until every one of them is acknowledged by all in-sync replicas."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from processors.runner.fail_points import Reach, nowhere
from processors.runner.failures import Fenced, Unavailable
from schemas.codecs import Message

#: Acknowledged by all replicas, never given up on one by one: a later message of the same key must not overtake.
SAFE = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "linger.ms": 2,
    "compression.type": "lz4",
    "message.max.bytes": 2_097_152,
}


class Publishes(Protocol):
    """What a lane needs of a publisher."""

    async def open(self) -> None:
        """Be ready to publish; a fenced publisher shuts out whoever published under its name before."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when all are acknowledged. Raises Unavailable, Fenced, or what no retry can mend."""


class PermanentDeliveryFailure(Exception):
    """Kafka refused a message for good. The process must end: what was committed could not be sent."""


class _Reports:
    """Counts the delivery reports of one batch; they come on librdkafka's thread."""

    def __init__(self, expected: int, reach: Reach) -> None:
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._left = expected
        self._error: KafkaError | None = None
        self.done: asyncio.Future[None] = self._loop.create_future()

    def report(self, error: KafkaError | None, message: Any) -> None:
        self._reach("before-report")
        self._left -= 1
        self._error = self._error or error
        if self._left == 0:
            self._loop.call_soon_threadsafe(self._finish)
        self._reach("after-report")

    def _finish(self) -> None:
        if self.done.done():
            return
        if self._error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(PermanentDeliveryFailure(self._error.name()))


class Publisher:
    """One producer for all lanes of a process."""

    def __init__(self, kafka: Mapping[str, Any], prefix: str = "", reach: Reach = nowhere) -> None:
        self._prefix, self._reach = prefix, reach
        self._producer = Producer({**SAFE, "message.timeout.ms": 0, "queue.buffering.max.messages": 500_000, **kafka})
        self._closed = False
        threading.Thread(target=self._poll, name="delivery-reports", daemon=True).start()

    async def open(self) -> None:
        """Nothing to prepare."""

    async def publish(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        reports = _Reports(len(messages), self._reach)
        for message in messages:
            while not self._accepts(message, reports):  # noqa: ASYNC110  librdkafka has no event for "queue has room"
                await asyncio.sleep(0.01)
        await reports.done

    def _accepts(self, message: Message, reports: _Reports) -> bool:
        try:
            produce(self._producer, self._prefix, message, reports.report)
        except BufferError:
            return False
        return True

    def _poll(self) -> None:
        while not self._closed:
            self._producer.poll(0.5)

    def close(self) -> None:
        """No more messages; nothing that was awaited is left."""
        self._closed = True


class FencedPublisher:
    """A lane's own producer, its transactional.id used purely as a fence: opening it shuts out the previous owner."""

    def __init__(self, kafka: Mapping[str, Any], prefix: str, name: str, reach: Reach = nowhere) -> None:
        self._prefix, self._reach = prefix, reach
        self._config = {
            **SAFE,
            "transactional.id": f"{prefix}{name}",
            "transaction.timeout.ms": 30_000,
            "linger.ms": 0,
            **kafka,
        }
        self._producer: Producer | None = None

    async def open(self) -> None:
        self._producer = Producer(self._config)
        await asyncio.to_thread(self._guarded, lambda: self._opened().init_transactions(30))

    async def publish(self, messages: Sequence[Message]) -> None:
        if messages:
            await asyncio.to_thread(self._guarded, lambda: self._transact(messages))

    def _opened(self) -> Producer:
        if self._producer is None:
            raise Unavailable("kafka transaction")
        return self._producer

    def _transact(self, messages: Sequence[Message]) -> None:
        producer = self._opened()
        producer.begin_transaction()
        for message in messages:
            while True:
                try:
                    produce(producer, self._prefix, message, None)
                    break
                except BufferError:
                    producer.poll(0.01)
        self._reach("before-report")
        producer.commit_transaction(30)
        self._reach("after-report")

    def _guarded(self, call: Any) -> None:
        try:
            call()
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED):
                raise Fenced(error.name()) from exception
            if error.fatal():
                raise PermanentDeliveryFailure(error.name()) from exception
            # Whatever became of the transaction, a new producer of the same name aborts what is left of it.
            self._producer = None
            raise Unavailable("kafka transaction") from exception


def produce(producer: Producer, prefix: str, message: Message, report: Any) -> None:
    """Hand one message to librdkafka. Raises BufferError while its queue is full."""
    producer.produce(
        prefix + message.topic,
        message.value,
        key=message.key,
        headers=list(message.headers) or None,
        on_delivery=report,
    )
