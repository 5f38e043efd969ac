"""Reading one event: each reason that can be found against it, exactly at the limits."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from schemas.limits import (
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    MAX_ID_CHARS,
    MAX_INTEGER,
    MAX_KEY_BYTES,
    MAX_KEYS,
    MAX_TYPE_CHARS,
)
from schemas.payload import TrackerEvent, normalise_type, read_event


def read(value: Any) -> TrackerEvent:
    return read_event(msgspec.Raw(json.dumps(value).encode()))


def reasons_of(value: Any) -> list[tuple[str, str]]:
    return [(reason.code, reason.path) for reason in read(value).reasons]


def nested(levels: int, innermost: Any) -> Any:
    """`innermost` inside this many lists and objects, by turns."""
    for level in range(levels):
        innermost = [innermost] if level % 2 else {"a": innermost}
    return innermost


@pytest.mark.parametrize("value", [None, 1, "a", [], [{"type": "a"}], True], ids=repr)
def test_an_event_that_is_no_object_is_rejected(value: Any):
    assert reasons_of(value) == [("event_not_object", "")]


def test_an_event_may_be_as_large_as_the_limit_and_not_a_byte_larger():
    frame = len(json.dumps({"type": "a", "properties": {"s": ""}}))
    at_limit = {"type": "a", "properties": {"s": "x" * (MAX_EVENT_BYTES - frame)}}
    assert len(json.dumps(at_limit)) == MAX_EVENT_BYTES
    assert reasons_of(at_limit) == []
    at_limit["properties"]["s"] += "x"
    assert reasons_of(at_limit) == [("event_too_large", "")]


@pytest.mark.parametrize("type", [None, "", " ", 1, ["a"], {"a": 1}, "-a", ".a", "a/b", "a\x07b", "é", "a,b"], ids=repr)
def test_a_type_outside_the_grammar_is_rejected(type: Any):
    assert reasons_of({"type": type}) == [("invalid_type", "/type")]


def test_a_type_may_have_as_many_characters_as_the_limit():
    assert read({"type": "x" * MAX_TYPE_CHARS}).type == "x" * MAX_TYPE_CHARS
    assert reasons_of({"type": "x" * (MAX_TYPE_CHARS + 1)}) == [("invalid_type", "/type")]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("Order Completed", "order-completed"),
        ("  order   completed ", "order-completed"),
        ("order-completed", "order-completed"),
        ("Order_Completed.v2:x", "order_completed.v2:x"),
        ("9LIVES", "9lives"),
    ],
)
def test_names_of_one_meaning_have_one_form(sent: str, name: str):
    assert normalise_type(sent) == read({"type": sent}).type == name
    assert normalise_type(name) == name


@pytest.mark.parametrize("id", [1, True, [], "", " ", "x" * (MAX_ID_CHARS + 1), "a\nb", "\u2028"], ids=repr)
def test_an_event_id_that_is_no_short_printable_text_is_rejected(id: Any):
    assert reasons_of({"type": "a", "id": id}) == [("invalid_event_id", "/id")]


def test_an_event_id_may_be_missing_or_as_long_as_the_limit():
    for event, id in (({}, None), ({"id": None}, None), ({"id": "x" * MAX_ID_CHARS}, "x" * MAX_ID_CHARS)):
        found = read({"type": "a", **event})
        assert (found.id, found.reasons) == (id, [])


@pytest.mark.parametrize("field", ["properties", "context"])
@pytest.mark.parametrize("value", [[], "x", 1, None, True], ids=repr)
def test_properties_and_context_are_objects(field: str, value: Any):
    assert reasons_of({"type": "a", field: value}) == [(f"invalid_{field}", f"/{field}")]


def test_every_reason_is_found_at_once():
    event = {"type": "", "id": 1, "timestamp": "now", "properties": [], "context": []}
    assert [code for code, _ in reasons_of(event)] == [
        "invalid_type",
        "invalid_event_id",
        "invalid_timestamp",
        "invalid_properties",
        "invalid_context",
    ]


@pytest.mark.parametrize("innermost", [1, {}, []], ids=repr)
def test_json_may_nest_as_deep_as_the_limit(innermost: Any):
    containers = MAX_DEPTH - 1 - isinstance(innermost, dict | list)  # the event itself is the first
    assert reasons_of({"type": "a", "x": nested(containers, innermost), "y": [[]]}) == []
    assert reasons_of({"type": "a", "x": nested(containers + 1, innermost)}) == [("too_deep", "")]


def test_json_that_nests_beyond_what_can_be_parsed_is_too_deep():
    assert [reason.code for reason in read_event(msgspec.Raw(b"[" * 5000 + b"]" * 5000)).reasons] == ["too_deep"]


def test_many_shallow_objects_are_not_deep():
    assert reasons_of({"type": "a", "properties": {"list": [{"a": [1]}] * 10 * MAX_DEPTH}}) == []


def test_an_object_may_have_as_many_keys_as_the_limit():
    keys = {str(number): number for number in range(MAX_KEYS)}
    assert reasons_of({"type": "a", "properties": keys}) == []
    assert reasons_of({"type": "a", "properties": {**keys, "one more": 1}}) == [("too_many_keys", "")]


def test_many_keys_in_different_objects_are_allowed():
    assert reasons_of({"type": "a", "properties": {"list": [{"a": 1, "b": 2}] * MAX_KEYS}}) == []


@pytest.mark.parametrize("character", ["k", '"', "\\", "é", "€", "\n", ":"])
def test_a_key_may_have_as_many_bytes_as_the_limit_whatever_it_is_written_with(character: str):
    longest = character * (MAX_KEY_BYTES // len(character.encode()))
    longest += "k" * (MAX_KEY_BYTES - len(longest.encode()))
    assert reasons_of({"type": "a", "properties": {"x": {longest: 1}}}) == []
    assert reasons_of({"type": "a", "properties": {"x": {longest + "k": 1}}}) == [("key_too_long", "")]
    plain = json.dumps({"type": "a", "properties": {longest + "k": 1}}, ensure_ascii=False).encode()
    assert [reason.code for reason in read_event(msgspec.Raw(plain)).reasons] == ["key_too_long"]


@pytest.mark.parametrize("colon", [":", " :", "\n\t : "])
def test_a_key_too_long_is_found_wherever_it_stands_behind_values_of_any_length(colon: str):
    for length in range(0, 3 * MAX_KEY_BYTES, 5):
        values = ["v" * length, "w" * (300 + length), *range(length)]
        before = f'"a":{json.dumps(values)},"b":{json.dumps(values[:2])}'
        for more, codes in ((0, []), (1, ["key_too_long"])):
            body = f'{{"type":"a","properties":{{{before},"{"k" * (MAX_KEY_BYTES + more)}"{colon}"x"}}}}'
            assert [reason.code for reason in read_event(msgspec.Raw(body.encode())).reasons] == codes


def test_a_long_value_is_no_long_key():
    assert reasons_of({"type": "a", "properties": {"k": "v" * 10_000, "l": 'a"' * 5_000}}) == []


@pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER, 1.7976931348623157e308, 5e-324, 1e20])
def test_numbers_that_every_reader_agrees_on_pass(number: float):
    assert read({"type": "a", "properties": {"n": number}}).parsed_properties == {"n": number}


@pytest.mark.parametrize("number", [str(MAX_INTEGER + 1), str(-MAX_INTEGER - 1), "9" * 30, "1e400", "-1e400"])
def test_numbers_that_would_lose_digits_or_overflow_are_rejected(number: str):
    raw = b'{"type":"a","properties":{"deep":[{"n":%s}]}}' % number.encode()
    assert [reason.code for reason in read_event(msgspec.Raw(raw)).reasons] == ["number_out_of_range"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "a\0"},
        {"type": "a", "id": "\0"},
        {"type": "a", "properties": {"s": ["x\0y"]}},
        {"type": "a", "properties": {"k\0": 1}},
        {"type": "a", "context": {"s": "\0"}},
    ],
    ids=repr,
)
def test_the_character_nul_is_rejected_wherever_it_stands(event: Any):
    assert reasons_of(event) == [("nul_character", "")]


def test_the_letters_backslash_u0000_are_no_nul():
    assert reasons_of({"type": "a", "properties": {"s": "\\u0000"}}) == []


def test_half_a_surrogate_pair_is_no_text():
    raw = msgspec.Raw(b'{"type":"a","properties":{"s":"\\ud800"}}')
    assert [reason.code for reason in read_event(raw).reasons] == ["invalid_unicode"]


def test_reasons_never_repeat_what_was_sent():
    secret = "s3cret"
    event = {
        "type": f"{secret}/",
        "id": f"{secret}\n{secret}",
        "timestamp": secret,
        "properties": secret,
        "context": secret,
    }
    assert len(read(event).reasons) == 5
    assert secret not in repr(read(event).reasons)


@pytest.mark.parametrize(
    ("sent", "moment"),
    [
        ("2024-02-29T12:30:45Z", datetime(2024, 2, 29, 12, 30, 45, tzinfo=UTC)),
        ("2024-02-29T12:30:45", datetime(2024, 2, 29, 12, 30, 45, tzinfo=UTC)),  # without an offset: UTC
        ("2024-02-29T12:30:45+05:30", datetime(2024, 2, 29, 7, 0, 45, tzinfo=UTC)),
        ("2024-02-29T23:30:00-01:00", datetime(2024, 3, 1, 0, 30, tzinfo=UTC)),
        ("2024-02-29 12:30:45.123456Z", datetime(2024, 2, 29, 12, 30, 45, 123456, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_the_moment_that_it_names(sent: str, moment: datetime):
    event = read({"type": "a", "timestamp": sent})
    assert (event.occurred_at, event.reasons) == (moment, [])
    assert event.occurred_at.utcoffset().total_seconds() == 0


def test_a_time_without_an_offset_does_not_depend_on_where_the_machine_stands(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        event = read({"type": "a", "timestamp": "2024-02-29T12:30:45"})
    time.tzset()
    assert event.occurred_at == datetime(2024, 2, 29, 12, 30, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    "sent",
    [
        "now",
        "infinity",
        "-infinity",
        "today",
        "epoch",
        "",
        "2024-01-01",
        "12:00:00",
        "2024-01-01T00:00:60Z",
        "2024-01-01T24:00:00Z",
        "2023-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "294277-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",  # before year 1 in UTC
        "9999-12-31T23:59:59-01:00",
        "2024-01-01T00:00:00+24:00",
        1_700_000_000_000,
        1.5,
        True,
        [],
        {},
    ],
    ids=repr,
)
def test_what_is_no_moment_between_the_years_1_and_9999_is_rejected(sent: Any):
    assert reasons_of({"type": "a", "timestamp": sent}) == [("invalid_timestamp", "/timestamp")]


def test_the_time_may_stand_in_a_time_object_and_insert_comes_first():
    both = {"insert": "2024-01-01T00:00:00Z", "create": "2023-01-01T00:00:00Z"}
    assert read({"type": "a", "time": both}).occurred_at == datetime(2024, 1, 1, tzinfo=UTC)
    assert read({"type": "a", "time": {**both, "insert": None}}).occurred_at == datetime(2023, 1, 1, tzinfo=UTC)
    assert read({"type": "a", "time": both, "timestamp": "2022-01-01T00:00:00Z"}).occurred_at.year == 2022
    assert read({"type": "a", "time": {}}).occurred_at is None
    assert reasons_of({"type": "a", "time": {"create": "now"}}) == [("invalid_timestamp", "/time/create")]


@pytest.mark.parametrize("number", [b"1e-20000", b"-2.5E-16500", b"0." + b"0" * 1200 + b"1"], ids=lambda n: repr(n[:9]))
def test_a_number_that_postgresql_cannot_hold_is_refused_though_python_reads_zero(number: bytes):
    event = read_event(msgspec.Raw(b'{"type":"a","properties":{"n":%s}}' % number))
    assert [reason.code for reason in event.reasons] == ["number_out_of_range"]


def test_small_numbers_and_texts_that_look_like_tiny_ones_are_welcome():
    raw = b'{"type":"a","properties":{"n":1e-300,"m":0.000000001,"o":"e-20000","t":"1e-20000","l":"1, 1e-20000"}}'
    assert read_event(msgspec.Raw(raw)).reasons == []
