"""Kafka, as the door sees it: a record is taken when all in-sync replicas have it, or it is not taken."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.codecs import BRIDGE_HEADER, CLIENT_HEADER
from schemas.definitions.inbound import BRIDGES

#: How long a client waits at most before it hears that Kafka cannot take its payload.
DEADLINE_S = 8.0

#: How the door's producer writes.
PRODUCER: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    # About as long as an answer takes: librdkafka's idempotent producer keeps a core busy while five
    # messages of a partition are under way and others are due.
    "linger.ms": 3,
    "compression.type": "lz4",
    "message.max.bytes": 2_097_152,
    "message.timeout.ms": int(DEADLINE_S * 1000),
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 65_536,
}

Headers = list[tuple[str, str | bytes | None]]
_HEADERS: dict[str, Headers] = {bridge: [(BRIDGE_HEADER, bridge.encode())] for bridge in BRIDGES}

Place = tuple[int, int]


class SinkUnavailable(Exception):
    """Kafka did not take the record in time. It may have it all the same: the client sends again, with the same ids."""


class Sink:
    """Writes payloads to `tracks`. Bounded: what does not fit is refused at once."""

    def __init__(self, kafka: Mapping[str, Any], topic: str, reach: Callable[[str], None] = lambda name: None) -> None:
        """To be made on the event loop that will write. `reach` is called at named places, for tests."""
        self._topic, self._reach = topic, reach
        self._loop = asyncio.get_running_loop()
        self._producer = Producer({**PRODUCER, **kafka})
        self._done: list[tuple[asyncio.Future[Place], KafkaError | None, int, int]] = []
        #: Who waits, and until when: one look now and then, instead of a timer for each.
        self._waiting: deque[tuple[float, asyncio.Future[Place]]] = deque()
        self._loop.call_later(1, self._give_up)
        self._lock = threading.Lock()
        self._closing = False
        threading.Thread(target=self._poll, name="delivery-reports", daemon=True).start()

    async def write(self, key: str, body: bytes, bridge: str, client: bytes = b"") -> Place:
        """(partition, offset) of the record, that came by this bridge; `client` says whose request it was. Raises
        SinkUnavailable."""
        future: asyncio.Future[Place] = self._loop.create_future()

        def report(error: KafkaError | None, message: Any) -> None:
            self._report(future, error, message)

        headers = [*_HEADERS[bridge], (CLIENT_HEADER, client)] if client else _HEADERS[bridge]
        self._reach("before-door-produce")
        try:
            self._producer.produce(self._topic, body, key=key or None, headers=headers, on_delivery=report)
        except (BufferError, KafkaException) as error:
            raise SinkUnavailable from error
        self._reach("after-door-produce")
        self._waiting.append((self._loop.time() + DEADLINE_S, future))
        return await future

    def _give_up(self) -> None:
        """librdkafka reports in time; should it not, nobody waits for ever."""
        now = self._loop.time()
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][1].done()):
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(SinkUnavailable())
        if not self._closing:
            self._loop.call_later(1, self._give_up)

    def _report(self, future: "asyncio.Future[Place]", error: KafkaError | None, message: Any) -> None:
        """On librdkafka's thread: reports are handed over in bundles, one wake-up of the loop for many."""
        self._reach("before-door-report")
        with self._lock:
            first = not self._done
            self._done.append((future, error, message.partition() or 0, message.offset() or 0))
        if first:
            self._loop.call_soon_threadsafe(self._hand_over)
        self._reach("after-door-report")

    def _hand_over(self) -> None:
        with self._lock:
            done, self._done = self._done, []
        for future, error, partition, offset in done:
            if future.done():
                continue
            if error is None:
                future.set_result((partition, offset))
            else:
                future.set_exception(SinkUnavailable())

    def _poll(self) -> None:
        while not self._closing:
            self._producer.poll(0.2)

    def reachable(self) -> bool:
        """Whether Kafka answers and has the topic. Blocks for at most two seconds."""
        try:
            return self._topic in self._producer.list_topics(self._topic, timeout=2).topics
        except KafkaException:
            return False

    async def close(self) -> None:
        """Wait for what is under way, at most as long as a client would."""
        await asyncio.to_thread(self._producer.flush, DEADLINE_S)
        self._closing = True
