"""What becomes of a record of another topic."""

import json
from typing import Any

import pytest

from schemas.codecs import ForeignCodec, Undecodable
from schemas.definitions.inbound import KafkaBridge
from schemas.events import ForeignRecord, Record
from workflows.bridging import bridged

PLACE = {"topic": "foreign:legacy.orders", "partition": 3, "offset": 70, "timestamp": 1_750_000_000_123}


def record(value: Any, **changes: Any) -> ForeignRecord:
    return ForeignRecord(**{**PLACE, "key": "k-1", "headers": {"kind": "paid"}, "value": value, **changes})


def bridge(**fields: Any) -> KafkaBridge:
    return KafkaBridge(**{"id": "b", "topic": "legacy.orders", "source": "shop", **fields})


def payload(*given: Any) -> dict[str, Any]:
    return json.loads(bytes(bridged(*given).payload))


def test_without_paths_the_value_is_the_properties_and_the_place_is_the_id():
    assert payload(record({"total": 5}), bridge(event_type="order")) == {
        "source": {"id": "shop"},
        "timestamp": "2025-06-15T15:06:40.123000+00:00",
        "events": [{"id": "legacy.orders-3-70", "type": "order", "properties": {"total": 5}}],
    }


def test_everything_may_lie_anywhere_in_the_record():
    value = {
        "o": {"id": 7, "at": "2024-01-01T00:00:00Z", "what": {"total": 5}},
        "who": {"session": "s", "meta": {"a": 1}},
    }
    paths = {
        "type": "headers.kind",
        "event_id": "value.o.id",
        "session": "value.who.session",
        "profile": "key",
        "timestamp": "value.o.at",
        "properties": "value.o.what",
        "context": "value.who.meta",
    }
    made = bridged(record(value), bridge(paths=paths))
    assert made.key == "s"
    assert json.loads(bytes(made.payload)) == {
        "source": {"id": "shop"},
        "session": {"id": "s"},
        "profile": {"id": "k-1"},
        "context": {"a": 1},
        "events": [{"id": "7", "type": "paid", "timestamp": "2024-01-01T00:00:00Z", "properties": {"total": 5}}],
    }


@pytest.mark.parametrize("at", [1_750_000_000, 1_750_000_000_000, 1_750_000_000.0])
def test_times_may_be_seconds_or_milliseconds(at: float):
    [event] = payload(record({"at": at}), bridge(event_type="order", paths={"timestamp": "value.at"}))["events"]
    assert event["timestamp"] == "2025-06-15T15:06:40+00:00"


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"{", b"\x00\x00\x00\x00\x07avro", b"[" * 100_000])
def test_what_is_no_json_is_a_dead_letter(value: bytes | None):
    with pytest.raises(Undecodable):
        ForeignCodec().decode(Record("foreign:t", 0, 0, 0, None, value))


def test_a_record_is_read_with_its_key_and_headers():
    read = ForeignCodec().decode(Record("foreign:t", 1, 2, 3, b"k", b'{"a":1}', (("h", b"x"), ("n", None))))
    assert read == ForeignRecord("foreign:t", 1, 2, 3, "k", {"h": "x", "n": ""}, {"a": 1})
