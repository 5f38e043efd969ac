"""Records that producers wrote straight to `tracks`: each bad one lands once in `failures`, and blocks nothing."""

import json
import random
from collections import Counter
from typing import Any

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import RECORDING, Installation

DEFINITIONS = (
    SHOP
    + """
---
kind: source
id: switched-off
enabled: false
---
kind: source
id: http-only
bridges: [http]
"""
)

NOISE = random.Random(7).randbytes(300)
UNREADABLE: dict[str, tuple[bytes | None, str]] = {
    "no value at all": (None, "null_value"),
    "an empty value": (b"", "empty_value"),
    "blanks": (b"   ", "empty_body"),
    "random bytes": (b"\x80" + NOISE, "invalid_encoding"),
    "an Avro header": (b"\0\0\0\0\x01abc", "invalid_json"),
    "invalid UTF-8": (b'{"source":{"id":"shop"},"events":[{"type":"\xff\xfe"}]}', "invalid_encoding"),
    "cut off": (b'{"source":{"id":"shop"},"events":[{"type":"page', "invalid_json"),
    "an array": (b'[{"source":{"id":"shop"}}]', "not_an_object"),
    "a string": (b'"shop"', "not_an_object"),
    "a number": (b"7", "not_an_object"),
    "no events": (b'{"source":{"id":"shop"}}', "empty_batch"),
    "an empty list of events": (b'{"source":{"id":"shop"},"events":[]}', "empty_batch"),
    "half a surrogate pair": (b'{"source":{"id":"shop"},"events":[{"type":"\\ud800"}]}', "invalid_json"),
    "501 events": (json.dumps(payload("shop", *[{"type": "x"}] * 501)).encode(), "batch_too_large"),
    "10,000 levels": (b'{"source":' + b'{"id":' * 10_000 + b"1" + b"}" * 10_000 + b"}", "too_deep"),
}

WRONG: dict[str, tuple[str, str, str]] = {
    "65 levels": ('{"type":"x","properties":' + '{"a":' * 65 + "1" + "}" * 65 + "}", "too_deep", ""),
    "a huge number": ('{"type":"x","properties":{"n":1e400}}', "number_out_of_range", ""),
    "a 20-digit integer": ('{"type":"x","properties":{"n":12345678901234567890}}', "number_out_of_range", ""),
    "a NUL character": ('{"type":"x","properties":{"t":"a\\u0000b"}}', "nul_character", ""),
    "a NUL character in a key": ('{"type":"x","properties":{"a\\u0000b":1}}', "nul_character", ""),
    "no type": ('{"properties":{}}', "invalid_type", "/type"),
    "a type with control characters": ('{"type":"a\\u0007b"}', "invalid_type", "/type"),
    "an event that is a list": ("[1]", "event_not_object", ""),
    "properties that are a list": ('{"type":"x","properties":[1]}', "invalid_properties", "/properties"),
    "a context that is text": ('{"type":"x","context":"a"}', "invalid_context", "/context"),
    "an id that is a number": ('{"type":"x","id":7}', "invalid_event_id", "/id"),
    "a time that is none": ('{"type":"x","timestamp":"now"}', "invalid_timestamp", "/timestamp"),
    "the year 294277": ('{"type":"x","timestamp":"294277-01-01T00:00:00Z"}', "invalid_timestamp", "/timestamp"),
    "1,001 keys": (
        json.dumps({"type": "x", "properties": dict.fromkeys(map(str, range(1001)), 1)}),
        "too_many_keys",
        "",
    ),
    "a key of 300 bytes": (json.dumps({"type": "x", "properties": {"k" * 300: 1}}), "key_too_long", ""),
    "an event of 300 kB": (json.dumps({"type": "x", "properties": {"t": "a" * 300_000}}), "event_too_large", ""),
    "what the schema forbids": (
        '{"type":"Order Completed","properties":{"order":{"discs":0,"total":1},"customer":{"id":"c"}}}',
        "schema_invalid",
        "/properties/order/discs",
    ),
}

SOURCES = {
    "unknown": ({"source": {"id": "nobody"}}, "nobody", "unknown_source"),
    "disabled": ({"source": {"id": "switched-off"}}, "switched-off", "source_disabled"),
    "wrong bridge": ({"source": {"id": "http-only"}}, "http-only", "bridge_not_allowed"),
    "missing": ({}, "", "no_source"),
    "a number": ({"source": {"id": 7}}, "", "invalid_source"),
    "a path": ({"source": {"id": "../../etc/passwd"}}, "../../etc/passwd", "unknown_source"),
    "a quote": ({"source": {"id": "x'; drop table events; --"}}, "x'; drop table events; --", "unknown_source"),
}


class Sent:
    """What was written, and where it lies."""

    def __init__(self) -> None:
        self.unreadable: dict[str, tuple[int, int]] = {}
        self.wrong: dict[str, tuple[int, int]] = {}
        self.sources: dict[str, tuple[int, int]] = {}
        self.bodies: dict[tuple[int, int], bytes] = {}
        self.good: set[str] = set()


@pytest.fixture(scope="module")
def recording(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS)
    installation.start(*RECORDING)
    return installation


@pytest.fixture(scope="module")
def sent(recording: Installation) -> Sent:
    """Everything bad there is, each between good payloads, all of it through."""
    sent = Sent()

    def write(value: bytes | None, key: bytes) -> tuple[int, int]:
        place = recording.write(value, key=key)
        sent.bodies[place] = value or b""
        good = [f"good-{len(sent.good) + n}" for n in range(2)]
        sent.good.update(good)
        recording.write(
            json.dumps(payload("shop", *({"type": "page-view", "id": id} for id in good))).encode(), key=key
        )
        return place

    for name, (value, _) in UNREADABLE.items():
        sent.unreadable[name] = write(value, name.encode())
    for name, (event, _, _) in WRONG.items():
        good = f"beside {name}"
        sent.good.add(good)
        body = f'{{"source":{{"id":"shop"}},"events":[{event},{{"type":"page-view","id":"{good}"}}]}}'
        sent.wrong[name] = write(body.encode(), name.encode())
    for name, (source, _, _) in SOURCES.items():
        sent.sources[name] = write(json.dumps({**source, "events": [{"type": "x"}, {"type": "y"}]}).encode(), b"s")
    recording.wait_through()
    return sent


def failed(recording: Installation, place: tuple[int, int]) -> list[tuple[Any, ...]]:
    return recording.sql(
        "select ordinal, kind, stage, source, reasons, content from failures "
        "where topic = 'tracks' and partition = %s and \"offset\" = %s order by ordinal",
        *place,
    )


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_record_becomes_one_dead_letter_with_its_bytes(
    recording: Installation, sent: Sent, name: str
) -> None:
    value, code = UNREADABLE[name]
    ((ordinal, kind, stage, source, reasons, content),) = failed(recording, sent.unreadable[name])
    assert (ordinal, kind, stage, source) == (-1, "dead-letter", "validate", "")
    assert [reason["code"] for reason in reasons] == [code]
    assert bytes(content) == (value or b"")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_event_is_rejected_alone_with_its_reason_and_can_be_sent_again(
    recording: Installation, sent: Sent, name: str
) -> None:
    event, code, pointer = WRONG[name]
    ((ordinal, kind, stage, source, reasons, content),) = failed(recording, sent.wrong[name])
    assert (ordinal, kind, stage, source) == (0, "rejected", "validate", "shop")
    assert [(reason["code"], reason.get("path", "")) for reason in reasons] == [(code, pointer)]
    body = bytes(content).decode()
    assert body.startswith('{"source":{"id":"shop"}')
    assert event in body


@pytest.mark.parametrize("name", SOURCES)
def test_events_of_a_source_that_may_not_send_are_rejected_with_the_reason(
    recording: Installation, sent: Sent, name: str
) -> None:
    _, source, code = SOURCES[name]
    found = failed(recording, sent.sources[name])
    assert [(ordinal, kind, of) for ordinal, kind, _, of, _, _ in found] == [
        (0, "rejected", source),
        (1, "rejected", source),
    ]
    assert all(reasons[0]["code"] == code for *_, reasons, _ in found)


def test_all_good_events_between_the_bad_ones_are_recorded(recording: Installation, sent: Sent) -> None:
    assert {id for (id,) in recording.sql("select id from events where source = 'shop'")} == sent.good


def test_nothing_else_failed_and_the_accounting_is_exact(recording: Installation, sent: Sent) -> None:
    wanted = len(sent.unreadable) + len(sent.wrong) + 2 * len(sent.sources)
    assert recording.one("select count(*) from failures") == wanted
    accounting = recording.require_balance()
    assert accounting["shop"]["recorded"] == len(sent.good)
    assert accounting["shop"]["rejected"] == len(WRONG)
    assert accounting[""]["dead_letters"] == len(UNREADABLE)
    by_source = Counter(source for _, source, _ in SOURCES.values())
    assert {source: accounting[source]["rejected"] for source in by_source} == {s: 2 * n for s, n in by_source.items()}


def test_a_dead_letter_topic_record_holds_the_bytes_and_says_where_they_lay(
    recording: Installation, sent: Sent
) -> None:
    places = set()
    for message in recording.records("dead-letters"):
        headers = {name: value.decode() for name, value in message.headers() or []}
        place = int(headers["dlq.partition"]), int(headers["dlq.offset"])
        assert headers["dlq.topic"] == "tracks"
        assert (message.value() or b"") == sent.bodies[place]
        places.add(place)
    assert places == set(sent.unreadable.values())


def test_odd_keys_headers_and_times_do_not_hurt(recording: Installation) -> None:
    body = json.dumps(payload("shop", {"type": "page-view", "id": "odd"}, session="odd")).encode()
    recording.write(body, key=b"\xff\xfe" * 500, headers=[("headwater-bridge", b"workflow\xff"), ("x", None)])
    headers = [
        ("headwater-hops", None),
        ("Faust-Ag-ReplyTo", b"somewhere"),
        ("headwater-hops", b"99999"),
        ("x", b"\xff"),
    ]
    recording.write(body, headers=headers)
    recording.wait_through()
    assert recording.one("select count(*) from events where id = 'odd'") == 1
    assert recording.one("select count(*) from event_duplicates where id = 'odd'") == 1


def test_a_record_that_is_no_model_in_a_topic_between_stages_becomes_a_dead_letter(recording: Installation) -> None:
    for topic, stage in (("events-valid", "identify"), ("events-identified", "persist"), ("events-rejected", None)):
        partition, offset = recording.write(b'{"not": "a model"}', key=b"k", topic=topic)
        recording.wait_through()
        query = (
            'select kind, stage, reasons, content from failures where topic = %s and partition = %s and "offset" = %s'
        )
        ((kind, by, reasons, content),) = recording.sql(query, topic, partition, offset)
        assert (kind, by, bytes(content)) == ("dead-letter", stage or "record-failures", b'{"not": "a model"}')
        assert reasons[0]["code"] == "not_this_topics_model"
