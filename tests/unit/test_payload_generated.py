"""Reading payloads against a plain reading of the rules, over generated JSON, and over bytes that are none."""

import json
import math
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.limits import MAX_CONTEXT_BYTES, MAX_DEPTH, MAX_INTEGER, MAX_KEY_BYTES, MAX_KEYS
from schemas.payload import normalise_type, read_event, read_payload
from schemas.reading import PayloadError

characters = st.characters(codec="utf-8")
text = st.text(characters, max_size=12) | st.sampled_from(["\0", 'a"b', "\\", "\\u0000", '":', "€"])
keys = text | st.builds(
    lambda part, times: part * times, st.sampled_from(['"', "k", "€", '\\"', '":']), st.integers(1, 300)
)
numbers = st.integers() | st.sampled_from([MAX_INTEGER, MAX_INTEGER + 1, -MAX_INTEGER - 1]) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers.filter(lambda n: n not in (float("inf"), float("-inf"))) | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
wrapped = st.builds(
    lambda value, levels: json.loads("[" * levels + json.dumps(value) + "]" * levels), values, st.integers(0, 70)
)
#: Parts of payloads and events, so that random objects come near to real ones.
names = st.sampled_from(
    ["source", "session", "profile", "context", "events", "options", "id", "type", "properties", "timestamp", "time"]
)
payloads = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6))


def storable(value: Any, depth: int = 0) -> bool:
    """Whether PostgreSQL and any other JSON reader would keep the value as it is."""
    if isinstance(value, dict | list) and depth >= MAX_DEPTH:
        return False
    if isinstance(value, dict):
        ok = len(value) <= MAX_KEYS and all(len(key.encode()) <= MAX_KEY_BYTES and "\0" not in key for key in value)
        return ok and all(storable(inner, depth + 1) for inner in value.values())
    if isinstance(value, list):
        return all(storable(inner, depth + 1) for inner in value)
    if isinstance(value, str):
        return "\0" not in value
    return not isinstance(value, int) or isinstance(value, bool) or abs(value) <= MAX_INTEGER


@given(wrapped, st.booleans(), st.sampled_from([None, 2]))
def test_an_event_is_accepted_exactly_where_its_content_can_be_stored(value: Any, ascii: bool, indent: int | None):
    sent = {"type": "a", "properties": {"value": value}}
    event = read_event(msgspec.Raw(json.dumps(sent, ensure_ascii=ascii, indent=indent).encode()))
    assert (event.reasons == []) == storable(sent)
    if not event.reasons:
        assert event.parsed_properties == json.loads(bytes(event.properties)) == sent["properties"]


@given(wrapped, wrapped, st.booleans(), st.sampled_from([None, 2]))
@example("\0", 1, True, None)
@example(1, "\0", True, None)
@example(MAX_INTEGER + 1, 1, True, None)
@example(1, {"k" * (MAX_KEY_BYTES + 1): 1}, True, None)
def test_of_an_event_and_the_context_around_it_each_is_judged_by_itself(
    value: Any, context: Any, ascii: bool, indent: int | None
):
    sent, around = {"type": "a", "properties": {"value": value}}, {"value": context}
    body = json.dumps({"context": around, "events": [sent]}, ensure_ascii=ascii, indent=indent).encode()
    payload = read_payload(body)
    [raw] = payload.events
    assert (read_event(raw).reasons == []) == storable(sent)
    size = len(bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["context"]))
    assert (payload.reasons == []) == (storable(around) and size <= MAX_CONTEXT_BYTES)


digits = st.integers(0, 10**20).map(str) | st.integers(990, 1010).map(lambda count: "7" * count)
written = st.tuples(
    st.sampled_from(["", "-"]),
    digits,
    st.just("") | digits.map(".{}".format),
    st.just("") | st.builds("{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), digits),
).filter(lambda parts: parts[1] == "0" or not parts[1].startswith("0"))


def can_be_stored(sign: str, whole: str, fraction: str, exponent: str) -> bool:
    """Of a number by its parts, as written."""
    if not fraction and not exponent:
        return abs(int(whole)) <= MAX_INTEGER
    finely = len(fraction) > 1000 or (exponent[1:2] == "-" and len(exponent) > 5)
    return not finely and math.isfinite(float(sign + whole + fraction + exponent))


@given(written, st.sampled_from(["%s", "[%s]", '{"a": %s }', " -1.5 , %s"]))
def test_a_number_is_judged_as_it_is_written_and_as_a_text_never(parts: tuple[str, str, str, str], around: str):
    number = "".join(parts)
    if "," not in around:
        event = read_event(msgspec.Raw(f'{{"type":"a","properties":{{"n":{around % number}}}}}'.encode()))
        assert [reason.code for reason in event.reasons] == ([] if can_be_stored(*parts) else ["number_out_of_range"])
    text = json.dumps({"type": "a", "properties": {"n": f": {around % number}, {number}"}})
    assert read_event(msgspec.Raw(text.encode())).reasons == []


@given(st.binary() | payloads.map(lambda value: json.dumps(value).encode()))
@example(b'{"events":[{"type":"a","timestamp":"9999-12-31T23:59:59.9999999Z"}]}')
@example(b'{"events":[{"type":"a","timestamp":"0001-01-01T00:00:00.0000001+00:01"}]}')
def test_whatever_bytes_come_reading_answers_with_events_or_a_payload_error(body: bytes):
    try:
        payload = read_payload(body)
    except PayloadError as error:
        assert error.code
        return
    for raw in payload.events:
        event = read_event(raw)
        assert event.reasons or event.type
        assert event.occurred_at is None or event.occurred_at.utcoffset() is not None


@given(st.binary())
def test_whatever_bytes_stand_for_an_event_reading_it_answers(body: bytes):
    event = read_event(msgspec.Raw(b'{"type":"a","properties":{"x":"' + body + b'"}}'))
    assert event.reasons or event.type


@given(st.text(characters, max_size=20))
def test_a_normalised_name_is_in_the_grammar_and_stays_as_it_is(name: str):
    normal = normalise_type(name)
    assert normalise_type(normal) == normal
    assert set(normal) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")
    assert normal == "" or normal[0].isalnum()
