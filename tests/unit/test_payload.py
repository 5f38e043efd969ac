"""Reading a payload as a whole: what refuses it, and its ids, context and options."""

import json
from typing import Any

import msgspec
import pytest

from schemas.limits import MAX_EVENTS, MAX_ID_CHARS
from schemas.payload import read_event, read_payload
from schemas.reading import PayloadError

MINIMAL = {
    "source": {"id": "source-id"},
    "session": {"id": "session-id"},
    "events": [{"type": "page-view", "properties": {"pageTitle": "Home Page"}}],
}
FULL = {
    "source": {"id": "source-id"},
    "session": {"id": "session-id"},
    "profile": {"id": "profile-id"},
    "context": {"device": "phone"},
    "events": [
        {
            "type": "event-type",
            "properties": {"a": [1, 2.5, None, True]},
            "options": {"saveEvents": True},
            "context": {"tags": ["x"]},
        }
    ],
    "options": {},
}


def read(value: Any):
    return read_payload(json.dumps(value).encode())


def code_of(body: bytes) -> str:
    with pytest.raises(PayloadError) as caught:
        read_payload(body)
    return caught.value.code


def reasons_of(value: Any) -> list[tuple[str, str]]:
    return [(reason.code, reason.path) for reason in read(value).reasons]


def test_the_minimal_payload_of_the_documentation_is_read():
    payload = read(MINIMAL)
    assert (payload.source, payload.session, payload.profile) == ("source-id", "session-id", None)
    assert payload.reasons == []
    assert payload.save_events
    (event,) = map(read_event, payload.events)
    assert (event.type, event.reasons) == ("page-view", [])
    assert msgspec.json.decode(event.properties) == event.parsed_properties == {"pageTitle": "Home Page"}


def test_the_full_payload_of_the_documentation_is_read():
    payload = read(FULL)
    assert (payload.source, payload.session, payload.profile) == ("source-id", "session-id", "profile-id")
    assert payload.reasons == []
    assert msgspec.json.decode(payload.context) == FULL["context"]
    (event,) = map(read_event, payload.events)
    assert event.reasons == []
    assert event.save
    assert msgspec.json.decode(event.properties) == {"a": [1, 2.5, None, True]}
    assert msgspec.json.decode(event.context) == {"tags": ["x"]}


@pytest.mark.parametrize(
    ("body", "byte"),
    [(b"{'events':[]}", "1"), (b'{"events":[{"type":"a"},]}', "24"), (b'{"events":[{"type":"a"}]} x', "27")],
)
def test_who_sends_what_is_no_json_learns_from_which_byte_on(body: bytes, byte: str) -> None:
    with pytest.raises(PayloadError) as met:
        read_payload(body)
    assert (met.value.code, met.value.byte) == ("invalid_json", byte)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b" \r\n\t", "empty_body"),
        (b'{"events":[', "invalid_json"),
        (b'{"events":[{"type":"a"}]} x', "invalid_json"),
        (b'{"events":[{"type":"a"}]}{}', "invalid_json"),
        (b"{'events':[]}", "invalid_json"),
        (b'{"events":[{"type":"a"},]}', "invalid_json"),
        (b'{"events":[{"type":"a"}]/**/}', "invalid_json"),
        (b'{"events":[{"type":"a","properties":{"n":01}}]}', "invalid_json"),
        (b'{"events":[{"type":"a","properties":{"n":NaN}}]}', "invalid_json"),
        (b'{"events":[{"type":"a","properties":{"n":-Infinity}}]}', "invalid_json"),
        (b'{"events":[{"type":"a","properties":{"s":"\x01"}}]}', "invalid_json"),
        (b'{"events":[{"type":"a","properties":{"s":"\\q"}}]}', "invalid_json"),
        # Half of a surrogate pair is no text: the whole payload is no JSON.
        (b'{"events":[{"type":"a","properties":{"s":"\\ud800"}}]}', "invalid_json"),
        (b'{"events":[{"type":"a","properties":{"\\udc00":1}}]}', "invalid_json"),
        (b'{"session":{"id":"\\ud800"},"events":[{"type":"a"}]}', "invalid_json"),
        # A byte order mark is no JSON either.
        (b'\xef\xbb\xbf{"events":[{"type":"a"}]}', "invalid_json"),
        (b'{"events":[{"type":"\xff"}]}', "invalid_encoding"),
        (b'{"events":[{"type":"\xc0\xaf"}]}', "invalid_encoding"),  # overlong
        (b'{"events":[{"type":"\xed\xa0\x80"}]}', "invalid_encoding"),  # a surrogate, as bytes
        ('{"events":[{"type":"é"}]}'.encode("latin-1"), "invalid_encoding"),
        ('{"events":[{"type":"a"}]}'.encode("utf-16"), "invalid_encoding"),
        (b"[]", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"null", "not_an_object"),
        (b"1", "not_an_object"),
        (b"{}", "empty_batch"),
        (b'{"events":[]}', "empty_batch"),
        (b'{"events":null}', "empty_batch"),
        (b'{"events":{"type":"a"}}', "empty_batch"),
        (b'{"events":"a"}', "empty_batch"),
        (b'{"session":{"id":1e400},"events":[{"type":"a"}]}', "number_out_of_range"),
        (b'{"events":' + b"[" * 100_000, "too_deep"),
        (b'{"ignored":' + b'{"a":' * 100_000, "too_deep"),
    ],
    ids=lambda value: value[:50].decode("latin-1") if isinstance(value, bytes) else value,
)
def test_a_payload_that_cannot_be_read_as_a_whole_is_refused_with_its_code(body: bytes, code: str):
    assert code_of(body) == code


def test_the_largest_batch_is_read_and_one_event_more_is_not():
    assert len(read({"events": [{"type": "a"}] * MAX_EVENTS}).events) == MAX_EVENTS
    assert code_of(json.dumps({"events": [{"type": "a"}] * (MAX_EVENTS + 1)}).encode()) == "batch_too_large"


@pytest.mark.parametrize(
    ("part", "code"), [("source", "invalid_source"), ("session", "invalid_id"), ("profile", "invalid_id")]
)
@pytest.mark.parametrize(
    "id",
    [1, True, [], {}, "", "   ", "x" * (MAX_ID_CHARS + 1), "a\x00b", "a\nb", "a\u200bb", "x" * 10_000],
    ids=repr,
)
def test_an_id_that_is_no_short_printable_text_is_a_reason_against_every_event(part: str, code: str, id: Any):
    payload = read({**MINIMAL, part: {"id": id}})
    assert getattr(payload, part) is None
    assert [(reason.code, reason.path) for reason in payload.reasons] == [(code, f"/{part}/id")]


@pytest.mark.parametrize("part", ["source", "session", "profile"])
def test_an_id_may_be_as_long_as_the_limit_and_is_trimmed(part: str):
    longest = "ü" * MAX_ID_CHARS
    payload = read({**MINIMAL, part: {"id": f"  {longest}\t"}})
    assert getattr(payload, part) == longest
    assert payload.reasons == []


@pytest.mark.parametrize("part", ["source", "session", "profile"])
@pytest.mark.parametrize("value", [None, {}, {"id": None}, {"name": "x"}], ids=repr)
def test_a_part_without_an_id_is_simply_not_there(part: str, value: Any):
    payload = read({**MINIMAL, part: value})
    assert getattr(payload, part) is None
    assert payload.reasons == []


@pytest.mark.parametrize("value", ["source-id", 7, ["source-id"], True], ids=repr)
def test_an_id_outside_its_object_is_not_guessed_at(value: Any):
    assert reasons_of({**MINIMAL, "session": value}) == [("invalid_id", "/session/id")]


@pytest.mark.parametrize("id", ["null", "undefined", "None", "NaN", "[object Object]", " NULL "])
def test_what_programs_write_for_no_session_does_not_make_one_person_of_all_who_send_it(id: str):
    payload = read({**MINIMAL, "session": {"id": id}})
    assert payload.session is None
    assert [(reason.code, reason.path) for reason in payload.reasons] == [("invalid_id", "/session/id")]


@pytest.mark.parametrize("context", [[], "x", 1, None, True], ids=repr)
def test_a_context_that_is_no_object_is_a_reason(context: Any):
    assert reasons_of({**MINIMAL, "context": context}) == [("invalid_context", "/context")]


@pytest.mark.parametrize("context", [{"a": "\0"}, {"a": 2**53 + 1}, {"k" * 257: 1}], ids=["NUL", "number", "key"])
def test_a_context_that_could_not_be_stored_is_a_reason_and_is_left_out(context: Any):
    payload = read({**MINIMAL, "context": context})
    assert [reason.code for reason in payload.reasons] == ["invalid_context"]
    assert bytes(payload.context) == b"{}"


@pytest.mark.parametrize(
    ("options", "saved"),
    [({"saveEvents": False}, False), ({"saveEvents": True}, True), ({}, True), (None, True), ("no", True)],
    ids=repr,
)
def test_only_a_plain_false_asks_not_to_save(options: Any, saved: bool):
    assert read({**MINIMAL, "options": options}).save_events is saved
    (event,) = read({"events": [{"type": "a", "options": options}]}).events
    assert read_event(event).save is saved


def test_unknown_fields_are_ignored_and_bound_to_nothing():
    known = read(MINIMAL)
    sent = read({**MINIMAL, "reasons": ["x"], "save_events": False, "received_at": "2020-01-01", "__class__": 1})
    assert sent == known


def test_of_duplicate_keys_the_last_wins_everywhere():
    body = b'{"source":{"id":"a"},"source":{"id":"b"},"events":[],"events":[{"type":"x","type":"y",'
    body += b'"properties":{"n":1,"n":2},"properties":{"n":3,"n":4}}]}'
    payload = read_payload(body)
    assert payload.source == "b"
    (event,) = map(read_event, payload.events)
    assert event.type == "y"
    assert msgspec.json.decode(event.properties) == event.parsed_properties == {"n": 4}


def test_a_million_digits_are_refused_and_not_computed():
    payload = read_payload(b'{"events":[{"type":"a","properties":{"n":' + b"9" * 200_000 + b"}}]}")
    assert [reason.code for reason in read_event(payload.events[0]).reasons] == ["number_out_of_range"]
