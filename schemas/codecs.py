"""Bytes to models and back, one codec a topic. JSON between stages; bytes as they came where they must stay so."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from schemas.definitions.inbound import BRIDGES
from schemas.events import BridgedPayload, EmittedEvent, ForeignRecord, Record, TrackedPayload
from schemas.failures import DeadLetter
from schemas.origin import Origin
from schemas.replays import ATTEMPT_HEADER, QUIET_HEADER, REPLAY_HEADER, REVISION_HEADER

HOPS_HEADER = "headwater-hops"
BRIDGE_HEADER = "headwater-bridge"
CLIENT_HEADER = "headwater-client"
#: What the header may say of how a payload came; whatever else it says, somebody wrote to the topic.
_BRIDGES: dict[bytes | None, str] = {bridge.encode(): bridge for bridge in (*BRIDGES, "workflow")}
DEAD_LETTER_HEADERS = (
    *("reason", "stage", "topic", "partition", "offset", "origin", "source", "exception", "attempt"),
    *("received_ms", "hops", "quiet", "counted"),
)
_anything = msgspec.json.Decoder().decode
#: The last millisecond that a datetime can say.
_LAST_MS = 253_402_300_799_999

Model = TypeVar("Model")


class Undecodable(ValueError):
    """A record is not what its topic holds. `reason` is a code from docs/input.md, `exception` a class name."""

    def __init__(self, reason: str, exception: str = "") -> None:
        super().__init__(reason)
        self.reason, self.exception = reason, exception


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record to write: the topic's logical name, key, value and headers."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = []


class Codec(Protocol):
    """How the records of one topic are read and written."""

    def decode(self, record: Record) -> Any:
        """The model in the record. Raises Undecodable."""

    def encode(self, topic: str, key: str | None, model: Any) -> Message:
        """The record that holds the model."""


class JsonCodec(Generic[Model]):
    """A model as a JSON object, fields that have their default left out."""

    def __init__(self, model: type[Model]) -> None:
        self._decode = msgspec.json.Decoder(model).decode
        self._encode = msgspec.json.Encoder(decimal_format="number").encode

    def decode(self, record: Record) -> Model:
        if record.value is None:
            raise Undecodable("null_value")
        if not record.value:
            raise Undecodable("empty_value")
        try:
            return self._decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Undecodable("not_this_topics_model", type(error).__name__) from error

    def decode_all(self, values: Iterable[bytes | None]) -> list[Model]:
        """The models in all of these records. Raises Undecodable where one of them holds none."""
        decode = self._decode
        try:
            return [decode(value or b"") for value in values]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Undecodable("not_this_topics_model", type(error).__name__) from error

    def encode(self, topic: str, key: str | None, model: Model) -> Message:
        return Message(topic, None if key is None else key.encode(), self._encode(model))


class PayloadCodec:
    """`tracks`: a payload stays the bytes that it was. Written by the door, and by run-workflows for emitted events."""

    def decode(self, record: Record) -> TrackedPayload:
        """Whatever lies there: what is wrong with it, validate says, who counts it too."""
        headers = dict(record.headers)
        return TrackedPayload(
            partition=record.partition,
            offset=record.offset,
            received_at=datetime.fromtimestamp(min(max(record.timestamp, 0), _LAST_MS) / 1000, UTC),
            body=record.value,
            key=record.key,
            hops=_number(hops.decode("ascii", "replace")) if (hops := headers.get(HOPS_HEADER)) else 0,
            bridge=_BRIDGES.get(headers.get(BRIDGE_HEADER), "kafka"),
            replay=headers.get(REPLAY_HEADER) or b"",
            quiet=QUIET_HEADER in headers,
            client=headers.get(CLIENT_HEADER) or b"",
        )

    def encode(self, topic: str, key: str | None, model: EmittedEvent | BridgedPayload) -> Message:
        if isinstance(model, BridgedPayload):
            return Message(topic, model.key.encode(), bytes(model.payload), [(BRIDGE_HEADER, b"bridge")])
        headers = [(HOPS_HEADER, str(model.hops).encode()), (BRIDGE_HEADER, b"workflow")]
        if model.quiet:
            headers.append((QUIET_HEADER, b"1"))
        return Message(topic, model.key.encode(), bytes(model.payload), headers)


class ForeignCodec:
    """A topic of others: JSON, whatever it says. Nothing of ours is written there."""

    def decode(self, record: Record) -> ForeignRecord:
        if not record.value:
            raise Undecodable("null_value" if record.value is None else "empty_value")
        try:
            value = _anything(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Undecodable("invalid_json", type(error).__name__) from error
        return ForeignRecord(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=min(max(record.timestamp, 0), _LAST_MS),
            key=None if record.key is None else record.key.decode("utf-8", "replace"),
            headers={name: (value or b"").decode("utf-8", "replace") for name, value in record.headers},
            value=value,
        )

    def encode(self, topic: str, key: str | None, model: Any) -> Message:
        raise TypeError(f"{topic} is not ours to write to")


class DeadLetterCodec:
    """`dead-letters`: the value unchanged, everything else in headers named `dlq.*`."""

    def decode(self, record: Record) -> DeadLetter:
        headers = dict(record.headers)
        text = {name: (headers.get(f"dlq.{name}") or b"").decode("utf-8", "replace") for name in DEAD_LETTER_HEADERS}
        try:
            _require_storable(text)
            return DeadLetter(
                key=record.key,
                value=record.value or b"",
                reason=text["reason"] or "unknown",
                stage=text["stage"],
                topic=text["topic"],
                partition=int(text["partition"]),
                offset=int(text["offset"]),
                origin=_origin(text["origin"]),
                source=text["source"],
                exception=text["exception"],
                attempt=_number(text["attempt"]),
                received_ms=_number(text["received_ms"], 15),
                hops=_number(text["hops"]),
                quiet=text["quiet"] == "True",
                counted=text["counted"] == "True",
            )
        except ValueError as error:
            raise Undecodable("not_a_dead_letter", type(error).__name__) from error

    def encode(self, topic: str, key: str | None, model: DeadLetter) -> Message:
        headers = [
            (f"dlq.{name}", str(value).encode())
            for name in DEAD_LETTER_HEADERS
            if (value := getattr(model, name)) not in (None, "", 0) or name in ("partition", "offset")
        ]
        return Message(topic, model.key, model.value, headers)


def _require_storable(text: dict[str, str]) -> None:
    """Anybody may write to the topic: what PostgreSQL would refuse must not come back as a dead letter of its own."""
    origin = _origin(text["origin"]) or Origin(0, 0, 0)
    numbers = (int(text["partition"]), origin.partition, origin.ordinal)
    if any("\0" in value for value in text.values()):
        raise ValueError("a header holds U+0000")
    if not all(abs(number) < 2**31 for number in numbers) or not all(
        abs(number) < 2**63 for number in (int(text["offset"]), origin.offset)
    ):
        raise ValueError("a header holds a number out of range")


def attempt_of(record: Record) -> int:
    """How often the record was sent again after it had failed, as its header says."""
    if not record.headers:
        return 0
    return _number((dict(record.headers).get(ATTEMPT_HEADER) or b"").decode("ascii", "replace"))


def revision_of(record: Record) -> int:
    """The config revision that the record is to be judged by, as its header says; 0 where it says nothing."""
    if not record.headers:
        return 0
    return _number((dict(record.headers).get(REVISION_HEADER) or b"").decode("ascii", "replace"), 18)


def _number(text: str, digits: int = 3) -> int:
    """A number that anybody may have written, of so many digits at most; 0 for what is none."""
    return int(text) if len(text) <= digits and text.isascii() and text.isdigit() else 0


def _origin(text: str) -> Origin | None:
    if not text:
        return None
    partition, offset, ordinal = text.split("/")
    return Origin(int(partition), int(offset), int(ordinal))


KeyOf = Callable[[Any], str | None]
