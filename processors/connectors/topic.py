"""Writes deliveries to a topic: of the pipeline's own Kafka, or of somebody else's; as JSON or Avro."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from processors.connectors.avro import AvroValues, wrong_schema
from processors.connectors.guard import told
from processors.connectors.webhook import latest
from processors.runner.failures import Poison, Unavailable
from processors.runner.publisher import SAFE
from schemas.definitions.outbound import Destination, KafkaTopic
from schemas.profiles import Delivery
from schemas.topics import CATALOGUE, destination_topic

log = logging.getLogger("headwater.dispatch")
_LIBRDKAFKA = logging.getLogger("headwater.dispatch.librdkafka")
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode
#: What Kafka says of a record that it will never take.
_REFUSED = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD)


class Cluster(NamedTuple):
    """A Kafka: how to reach it, and whether its addresses must be looked at first."""

    config: Mapping[str, Any]
    foreign: bool


class _Written(NamedTuple):
    key: bytes
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]


#: The Kafka of a resource, or our own for None; None where there is no such resource. Raises ValueError where a secret
#: cannot be opened.
ClusterOf = Callable[[str | None], Cluster | None]
#: Looks at an address before it is connected to. Raises OSError.
Look = Callable[[str, int], Awaitable[Any]]


class TopicWriter:
    """Writes a record a delivery. Whoever is no more is a record without a value under the profile's id."""

    def __init__(
        self,
        destination: Callable[[], Destination | None],
        cluster_of: ClusterOf,
        look: Look,
        avro: AvroValues,
        prefix: str = "",
    ) -> None:
        """`prefix` is before the names of the pipeline's own topics, which it does not write to."""
        self._prefix = prefix
        self._destination, self._cluster_of, self._look, self._avro = destination, cluster_of, look, avro
        self._connected_to: Mapping[str, Any] = {}
        self._producer: Producer | None = None
        self._turn = asyncio.Lock()

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Return when all are written. Raises Poison for one that is refused for good, Unavailable."""
        destination = self._destination()
        if destination is None or destination.topic is None:
            raise Unavailable("destination removed, paused or off")
        topic, encode = destination.topic, _encode
        if is_own(topic.name.removeprefix(self._prefix)):
            raise Unavailable("the pipeline's own topic")
        wanted = latest(deliveries) if destination.coalesce else deliveries
        if topic.avro is not None:  # they have fields of their own, of which the schema knows nothing
            wanted = [delivery for delivery in wanted if delivery.cause != "send"]
        try:
            if topic.avro is not None:
                encode = await self._avro.encoder(topic.avro, topic.name)
            written = [_record(topic, delivery, encode) for delivery in wanted]
            async with self._turn:
                producer = await self._connected(topic, destination.timeout_s)
                await asyncio.to_thread(_write, producer, topic.name, written, destination.timeout_s)
        except (KafkaException, OSError, ValueError) as error:
            self._let_go()
            log.warning("destination %s: %s", destination.id, _name(error))
            raise Unavailable("destination's Kafka") from error

    async def _connected(self, topic: KafkaTopic, timeout_s: float) -> Producer:
        cluster = self._cluster_of(topic.resource)
        if cluster is None:
            raise Unavailable("resource removed")
        # librdkafka wants to be given longer than it lingers.
        bounds = {"linger.ms": 50, "message.timeout.ms": max(1000, int(timeout_s * 1000))}
        config = {**SAFE, **bounds, **cluster.config}
        if self._producer is None or config != self._connected_to:
            self._let_go()
            if cluster.foreign:
                await self._look_at(str(config["bootstrap.servers"]).split(","))
            # Not connected before its brokers were looked at.
            self._producer, self._connected_to = Producer(config, logger=_LIBRDKAFKA), {}
            if cluster.foreign:
                known = await asyncio.to_thread(self._producer.list_topics, timeout=timeout_s)
                await self._look_at(f"{broker.host}:{broker.port}" for broker in known.brokers.values())
            self._connected_to = config
        return self._producer

    def _let_go(self) -> None:
        """A producer's end waits for its threads, which may wait for a name to be found; nobody waits for its end."""
        if self._producer is None:
            return
        gone, self._producer = [self._producer], None
        threading.Thread(target=gone.clear, name="producer's end", daemon=True).start()

    async def _look_at(self, servers: Iterable[str]) -> None:
        for server in servers:
            host, _, port = server.rpartition(":")
            await self._look(host, int(port))


def wrong_topic(destination: Destination) -> str | None:
    """What is wrong with a destination's topic, for whoever wrote it."""
    topic = destination.topic
    if topic is None:
        return None
    if is_own(topic.name):
        return f"topic.name: {topic.name} is a topic of the pipeline's own"
    for path in ([topic.key] if topic.key else []) + list(topic.headers.values()):
        if destination.mapping and path.partition(".")[0] not in destination.mapping:
            return f"topic: {path} is no field of what is sent: `mapping` has none of that name"
    return wrong_schema(topic.avro.record) if topic.avro is not None else None


def is_own(name: str) -> bool:
    """Whether the pipeline reads or writes a topic of this name itself."""
    return any(name == topic.name for topic in CATALOGUE) or name.startswith(destination_topic("").name)


def _record(topic: KafkaTopic, delivery: Delivery, encode: Callable[[Any], bytes]) -> _Written:
    headers: list[tuple[str, str | bytes | None]] = [
        ("headwater-delivery", delivery.id),
        ("headwater-profile", delivery.profile),
        ("headwater-version", str(delivery.version)),
    ]
    if delivery.gone:
        if delivery.merged_into is not None:
            headers.append(("headwater-merged-into", delivery.merged_into))
        return _Written(delivery.profile.encode(), None, headers)
    for name, path in topic.headers.items():
        if (value := _field(delivery.body, path)) is not None:
            headers.append((name, value))
    key = _field(delivery.body, topic.key) if topic.key is not None else None
    return _Written(key or delivery.profile.encode(), encode(delivery.body), headers)


def _field(body: Any, path: str) -> bytes | None:
    """A text as it is, anything else as JSON; None where there is nothing."""
    for name in path.split("."):
        if not isinstance(body, dict) or name not in body:
            return None
        body = body[name]
    if body is None:
        return None
    return body.encode() if isinstance(body, str) else _encode(body)


def _write(producer: Producer, topic: str, records: Sequence[_Written], timeout_s: float) -> None:
    """Raises Poison, KafkaException."""
    errors: list[KafkaError] = []

    def report(error: KafkaError | None, message: Any) -> None:
        if error is not None:
            errors.append(error)

    try:
        for record in records:
            producer.produce(topic, record.value, record.key, headers=record.headers, on_delivery=report)
    except KafkaException as error:
        errors.append(error.args[0])
    if producer.flush(timeout_s + 1):
        with suppress(KafkaException):
            producer.purge()
        producer.flush(1)
        raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
    for met in errors:
        if met.code() in _REFUSED:
            raise Poison("refused_by_destination", f"kafka {met.name()}")
    if errors:
        raise KafkaException(errors[0])


def _name(error: Exception) -> str:
    """The error without what it says: that could quote an address, or a record."""
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return error.args[0].name()
    return told(error)
