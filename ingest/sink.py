"""Kafka, as the door sees it: a record is taken when all in-sync replicas have it, or it is not taken."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.codecs import BRIDGE_HEADER, CLIENT_HEADER
from schemas.definitions.inbound import BRIDGES

log = logging.getLogger("headwater.door")

#: How long a client waits at most before it hears that Kafka cannot take its payload.
DEADLINE_S = 8.0

#: A bundle is waited for this many times as long as records usually took lately, within these bounds, so that a Kafka
#: that is slow as a whole (for want of CPU, say) does not get a sender that spins. Then others go beside what is left
#: of it, each waited for once as long, but no less than BESIDE_S: a broker that is away holds up its own partitions.
PATIENCE, LEAST_S, MOST_S, BESIDE_S = 4, 0.2, 1.0, 0.02
#: A bundle ends with the record that makes it so large, in bytes, unless its first one has waited for MOST_S: it fits
#: into one request to whatever partitions it goes, and what does not fit would keep the sender spinning.
BUNDLE_BYTES, RECORD_BYTES = 850_000, 100

#: Why Kafka does not take records is said so often at most, for each reason: some partitions may take them meanwhile.
SAY_EVERY_S = 60.0

#: How the door's producer writes. It sends only when it is told to flush: left to itself, librdkafka's idempotent
#: producer keeps a core busy while five messages of a partition are under way and others are due (2.16,
#: `rktp_msgs_inflight`).
PRODUCER: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "linger.ms": 1000,
    "compression.type": "lz4",
    "message.max.bytes": 2_097_152,
    "batch.size": 1_000_000,
    # Before its client gives up, though it was given to librdkafka only after so long and one bundle more: what is sent
    # again must not be overtaken by what was given up on.
    "message.timeout.ms": int((DEADLINE_S - 2 * MOST_S - 1) * 1000),
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 65_536,
}

Headers = list[tuple[str, str | bytes | None]]
_HEADERS: dict[str, Headers] = {bridge: [(BRIDGE_HEADER, bridge.encode())] for bridge in BRIDGES}

Place = tuple[int, int]


class SinkUnavailable(Exception):
    """Kafka did not take the record in time. It may have it all the same: the client sends again, with the same ids."""


class _Write(NamedTuple):
    future: "asyncio.Future[Place]"
    key: bytes | None
    body: bytes
    headers: Headers
    #: When, by the clock `time.monotonic`.
    at: float

    @property
    def size(self) -> int:
        said = sum(len(value or b"") for _, value in self.headers)
        return RECORD_BYTES + len(self.key or b"") + len(self.body) + said


class Sink:
    """Writes payloads to `tracks`. What comes while a bundle is under way makes the next one: bundles are as large as
    the load wants them and a request may be, and nobody waits for a clock. Who writes bounds how much; what does not
    fit is refused."""

    def __init__(self, kafka: Mapping[str, Any], topic: str, reach: Callable[[str], None] = lambda name: None) -> None:
        """To be made on the event loop that will write. `reach` is called at named places, for tests."""
        self._topic, self._reach = topic, reach
        self._loop = asyncio.get_running_loop()
        self._producer = Producer({**PRODUCER, **kafka})
        self._writes: SimpleQueue[_Write | None] = SimpleQueue()
        #: Of the sending thread alone: who is to be told, and the place; None where there is none.
        self._done: list[tuple[asyncio.Future[Place], Place | None]] = []
        #: By partition: the next offset of a batch whose place Kafka did not tell.
        self._made_up: dict[int, int] = {}
        #: How long the last records took, in seconds. Of the sending thread, too.
        self._took: deque[float] = deque([0.0], maxlen=99)
        #: By name of an error: until when it need not be said again. Of the sending thread, too.
        self._said_until: dict[str, float] = {}
        #: Who waits, and until when: one look now and then, instead of a timer for each.
        self._waiting: deque[tuple[float, asyncio.Future[Place]]] = deque()
        self._loop.call_later(1, self._give_up)
        self._closing = False
        #: Done, with its exception, should the sending thread have ended: the process must end too.
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._send, name="to-kafka", daemon=True)
        self._thread.start()

    def write(self, key: str, body: bytes, bridge: str, client: bytes = b"") -> "asyncio.Future[Place]":
        """(partition, offset) of the record, that came by this bridge; `client` says whose request it was. Raises
        SinkUnavailable, at once or when it is awaited."""
        if self.failed.done():
            raise SinkUnavailable
        future: asyncio.Future[Place] = self._loop.create_future()
        headers = [*_HEADERS[bridge], (CLIENT_HEADER, client)] if client else _HEADERS[bridge]
        self._writes.put(_Write(future, key.encode() or None, body, headers, time.monotonic()))
        self._waiting.append((self._loop.time() + DEADLINE_S, future))
        return future

    def _give_up(self) -> None:
        """librdkafka reports in time; should it not, nobody waits for ever."""
        now = self._loop.time()
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][1].done()):
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(SinkUnavailable())
        if self._waiting or not self._closing:
            self._loop.call_later(1, self._give_up)

    def _send(self) -> None:
        try:
            self._send_bundles()
        except Exception as error:
            log.exception("nothing can be written to Kafka any more")
            self._loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: Exception) -> None:
        self.failed.set_exception(error)
        self._hand_over([(future, None) for _, future in self._waiting])

    def _send_bundles(self) -> None:
        left = 0
        while left or not (self._closing and self._writes.empty()):
            for write in self._bundle(wait=not left and not self._closing, bounded=not left):
                self._produce(write)
            try:
                left = self._producer.flush(self._patience(beside=left > 0))
            finally:
                done, self._done = self._done, []
                if done:
                    self._loop.call_soon_threadsafe(self._hand_over, done)

    def _patience(self, beside: bool) -> float:
        usual = sorted(self._took)[len(self._took) // 2]
        return min(max(usual, BESIDE_S) if beside else max(PATIENCE * usual, LEAST_S), MOST_S)

    def _bundle(self, wait: bool, bounded: bool) -> list[_Write]:
        """What is to be written by now; `bounded`: as much as a bundle may be. If need be, `wait` for the first."""
        bundle: list[_Write] = []
        size = 0
        with suppress(Empty):
            while (write := self._writes.get(wait and not bundle)) is not None:
                bundle.append(write)
                size += write.size
                if bounded and size > BUNDLE_BYTES and time.monotonic() - bundle[0].at < MOST_S:
                    break
        return bundle

    def _produce(self, write: _Write) -> None:
        if write.future.done():  # nobody waits for it any more, and may have sent it again
            return

        def report(error: KafkaError | None, message: Any) -> None:
            self._reach("before-door-report")
            if error is not None:
                self._note(error)
            place = self._place_of(message) if error is None else None
            if place is not None:
                self._took.append(message.latency() or 0.0)
            self._done.append((write.future, place))
            self._reach("after-door-report")

        self._reach("before-door-produce")
        try:
            self._producer.produce(self._topic, write.body, key=write.key, headers=write.headers, on_delivery=report)
        except BufferError:
            self._done.append((write.future, None))
        except KafkaException as error:
            self._note(error.args[0])
            self._done.append((write.future, None))
        self._reach("after-door-produce")

    def _note(self, error: KafkaError) -> None:
        """Say why nothing is taken, now and then. Raises KafkaException where the producer will not recover."""
        if error.fatal() or error.code() == KafkaError._FATAL:
            raise KafkaException(error)
        now, name = time.monotonic(), error.name()
        if now >= self._said_until.get(name, now):
            log.error("Kafka does not take what is written", extra={"error": name})
            self._said_until[name] = now + SAY_EVERY_S

    def _place_of(self, message: Any) -> Place | None:
        """None where Kafka did not say: a batch that it had already is answered with offset -1, and librdkafka (2.16)
        counts on from there. Ids that follow from a place would be those of other records."""
        partition, offset = message.partition(), message.offset()
        if offset is None or offset == self._made_up.get(partition):
            self._made_up[partition] = 0 if offset is None else offset + 1
            return None
        self._made_up.pop(partition, None)
        return partition, offset

    def _hand_over(self, done: list[tuple["asyncio.Future[Place]", Place | None]]) -> None:
        for future, place in done:
            if future.done():
                continue
            if place is not None:
                future.set_result(place)
            else:
                future.set_exception(SinkUnavailable())

    def reachable(self) -> bool:
        """Whether Kafka answers and has the topic. Blocks for at most two seconds."""
        if self.failed.done():
            return False
        try:
            known = self._producer.list_topics(self._topic, timeout=2).topics.get(self._topic)
        except KafkaException:
            return False
        return known is not None and known.error is None

    async def close(self) -> None:
        """Wait for what is under way, hardly longer than a client would."""
        self._closing = True
        self._writes.put(None)
        await asyncio.to_thread(self._thread.join, DEADLINE_S + 1)
