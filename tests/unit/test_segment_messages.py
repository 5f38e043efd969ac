"""What becomes of messages of Segment's and RudderStack's libraries."""

import json
from typing import Any

import pytest

from ingest.libraries.segment import keys_of, read, translated
from ingest.libraries.translated import payloads, type_of
from ingest.refused import Refused
from schemas.limits import MAX_BODY_BYTES, MAX_EVENTS
from schemas.payload import normalise_type, read_event, read_payload
from schemas.reading import PayloadError

#: RudderStack's libraries write traits into the context.
RUDDERS = {"type": "identify", "context": {"traits": {"a": 1, "b": 1}}, "traits": {"b": 2}}


def plain(kind: str, value: str) -> str:
    """Instead of a hash."""
    return value


def made(*messages: Any, **common: Any) -> list[dict[str, Any]]:
    batch = read(json.dumps({"batch": messages, **common}).encode(), "batch")
    return [json.loads(body) for body in payloads(translated(batch, plain), "shop")]


def event(message: dict[str, Any], **common: Any) -> dict[str, Any]:
    [payload] = made(message, **common)
    [found] = payload["events"]
    return found


def test_a_track_call_is_an_event_of_its_name():
    sent = {
        "type": "track",
        "event": "Order Completed",
        "messageId": "m-1",
        "anonymousId": "a-1",
        "userId": "u-1",
        "timestamp": "2024-01-01T00:00:00.000Z",
        "sentAt": "2024-01-01T00:00:05.000Z",
        "properties": {"total": 12.50},
        "context": {"page": {"url": "https://x"}, "user_id": "somebody else"},
        "integrations": {"All": True},
        "writeKey": "secret",
    }
    assert made(sent) == [
        {
            "source": {"id": "shop"},
            "session": {"id": "a-1"},
            "sent_at": "2024-01-01T00:00:05.000Z",
            "events": [
                {
                    "type": "Order Completed",
                    "id": "m-1",
                    "timestamp": "2024-01-01T00:00:00.000Z",
                    "properties": {"total": 12.5},
                    "context": {
                        "page": {"url": "https://x"},
                        "user_id": "u-1",
                        "anonymous_id": "a-1",
                    },
                }
            ],
        }
    ]


@pytest.mark.parametrize(
    ("message", "type", "properties"),
    [
        ({"type": "page", "name": "Home", "properties": {"url": "u"}}, "page-view", {"name": "Home", "url": "u"}),
        ({"type": "page", "category": "Docs", "name": None}, "page-view", {"category": "Docs"}),
        ({"type": "screen", "name": "Home"}, "screen-view", {"name": "Home"}),
        ({"type": "identify", "traits": {"email": "a@b"}}, "identify", {"email": "a@b"}),
        (
            RUDDERS,
            "identify",
            {"a": 1, "b": 2},
        ),
        ({"type": "group", "groupId": "g", "traits": {"n": 1}}, "group", {"group_id": "g", "traits": {"n": 1}}),
        ({"type": "alias", "previousId": "p"}, "alias", {"previous_id": "p"}),
        ({"type": "track", "event": "x", "properties": None}, "x", {}),
    ],
)
def test_each_kind_of_message_is_an_event_type(message: dict[str, Any], type: str, properties: dict[str, Any]):
    found = event({**message, "userId": "u"})
    assert (found["type"], found["properties"]) == (type, properties)


@pytest.mark.parametrize(
    ("ids", "session"),
    [
        ({"anonymousId": "a", "userId": "u"}, {"id": "a"}),
        ({"userId": "u"}, {"id": "user:u"}),
        ({"userId": 7}, {"id": "user:7"}),
        ({"anonymousId": "null", "userId": "u"}, {"id": "user:u"}),
        ({"anonymousId": "", "userId": ""}, None),
        ({}, None),
    ],
)
def test_the_session_is_the_device_s_else_the_user_s(ids: dict[str, Any], session: dict[str, str] | None):
    [payload] = made({"type": "track", "event": "x", **ids})
    assert payload.get("session") == session
    assert payload.get("profile_less", False) == (session is None)


def test_a_long_id_still_has_a_session_of_its_own():
    sessions = {made({"type": "track", "event": "x", "userId": end * 150})[0]["session"]["id"] for end in "ab"}
    assert len(sessions) == 2
    assert all(len(session) <= 100 for session in sessions)


def test_the_name_as_it_was_sent_stays_where_characters_of_it_had_to_go():
    found = event({"type": "track", "event": "Signed Up!", "userId": "u"})
    assert (found["type"], found["context"]["event_name"]) == ("signed-up", "Signed Up!")


def test_messages_of_a_session_travel_together_in_their_order():
    sent = [{"type": "track", "event": f"e-{n}", "anonymousId": f"a-{n % 2}"} for n in range(6)]
    found = made(*sent, sentAt="2024-01-01T00:00:00Z")
    assert [[one["type"] for one in payload["events"]] for payload in found] == [
        ["e-0", "e-2", "e-4"],
        ["e-1", "e-3", "e-5"],
    ]
    assert {payload["sent_at"] for payload in found} == {"2024-01-01T00:00:00Z"}


def test_what_is_common_to_a_batch_holds_for_each_message_that_says_nothing_else():
    found = event({"type": "track", "event": "x", "userId": "u", "context": {"b": 2}}, context={"a": 1, "b": 1})
    assert found["context"] == {"a": 1, "b": 2, "user_id": "u"}


@pytest.mark.parametrize(
    "message",
    [
        7,
        None,
        "text",
        {},
        {"type": 7, "userId": "u"},
        {"type": "dance!", "userId": "u"},
        {"type": "track", "userId": "u"},
        {"type": "track", "event": ["x"], "userId": "u"},
        {"type": "track", "event": "x", "userId": "u", "properties": [1]},
        {"type": "track", "event": "x", "userId": "u", "context": "text"},
        {"type": "identify", "userId": "u", "traits": [1]},
        {"type": "track", "event": "x", "userId": "u", "messageId": 7},
        {"type": "track", "event": "x", "userId": "u", "timestamp": "yesterday"},
    ],
)
def test_a_message_that_is_wrong_becomes_an_event_that_is_rejected_and_kept(message: Any):
    good = {"type": "track", "event": "x", "userId": "other"}
    whole = [json.dumps(payload).encode() for payload in made(message, good)]
    reasons = [read_event(raw).reasons for body in whole for raw in read_payload(body).events]
    assert sorted(map(bool, reasons)) == [False, True]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b"{", "invalid_json"),
        (b"[]", "not_an_object"),
        (b"\xff", "invalid_encoding"),
        (b'{"batch": 7}', "empty_batch"),
        (b'{"batch": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "too_deep"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(body: bytes, code: str):
    with pytest.raises(PayloadError) as error:
        read(body, "batch")
    assert error.value.code == code


def test_an_empty_and_an_endless_batch_are_refused():
    for messages, code in (([], "empty_batch"), ([{}] * (MAX_EVENTS + 1), "batch_too_large")):
        with pytest.raises(Refused) as refused:
            read(json.dumps({"batch": messages}).encode(), "batch")
        assert refused.value.code == code


def test_large_messages_go_into_several_records_and_none_is_larger_than_a_record():
    sent = [{"type": "track", "event": "x", "userId": "u", "properties": {"a": "x" * 200_000}} for _ in range(12)]
    bodies = payloads(translated(read(json.dumps({"batch": sent}).encode(), "batch"), plain), "shop")
    assert len(bodies) > 1
    assert all(len(body) <= MAX_BODY_BYTES for body in bodies)
    assert sum(len(read_payload(body).events) for body in bodies) == 12


def test_keys_may_stand_in_the_batch_and_in_its_messages():
    body = json.dumps({"writeKey": "a", "batch": [{"writeKey": "b"}, {"writeKey": 7}, 5, {"writeKey": "a"}]}).encode()
    assert keys_of(read(body, "batch")) == {"a", "b"}


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("Order Completed", "Order Completed"),
        ("Signed Up!", "signed-up"),
        ("Größe gewählt", "grosse-gewahlt"),
        ("  Käufer/in  ", "kaufer-in"),
        ("$pageview", "pageview"),
        ("注文", "event-8c2a34c0a2f1"),
        ("", ""),
        ("   ", ""),
        (7, 7),
        (None, None),
    ],
)
def test_every_name_has_a_type(name: Any, type: Any):
    found = type_of(name)
    if name == "注文":
        assert found.startswith("event-")
        assert found != type_of("注文書")
    else:
        assert found == type
    assert not isinstance(found, str) or not name.strip() or normalise_type(found)


def test_of_a_long_name_only_the_beginning_is_looked_at():
    """To normalise the whole took the square of its length, and nobody else was answered meanwhile."""
    assert type_of("x" + "\u0301" * 20_000 + "\u0316" * 20_000 + "y") == "x"


def test_long_names_that_begin_alike_without_a_letter_of_ours_have_types_of_their_own():
    begin = "注" * 1000
    assert type_of(begin + "文") != type_of(begin + "書")
