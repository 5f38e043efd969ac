"""What becomes of captures of PostHog's libraries."""

import gzip
import json
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest

from ingest.libraries.posthog import keys_of, read, translated, unwrapped
from ingest.libraries.translated import payloads
from ingest.refused import Refused


def plain(kind: str, value: str) -> str:
    """Instead of a hash."""
    return value


def made(*captures: Any, **common: Any) -> list[dict[str, Any]]:
    batch = read(json.dumps({"api_key": "k", "batch": captures, **common}).encode())
    return [json.loads(body) for body in payloads(translated(batch, plain), "app")]


def event(capture: dict[str, Any]) -> dict[str, Any]:
    [payload] = made(capture)
    return payload["events"][0]


def test_a_capture_is_an_event_of_its_name_in_the_session_of_its_distinct_id():
    capture = {
        "event": "Video Played",
        "distinct_id": "d-1",
        "uuid": "u-1",
        "timestamp": "2024-01-01T00:00:00Z",
        "properties": {"length": 5, "$lib": "posthog-python", "$lib_version": "7"},
    }
    assert made(capture, sentAt="2024-01-01T00:00:01Z") == [
        {
            "source": {"id": "app"},
            "session": {"id": "user:d-1"},
            "sent_at": "2024-01-01T00:00:01Z",
            "events": [
                {
                    "type": "Video Played",
                    "id": "u-1",
                    "timestamp": "2024-01-01T00:00:00Z",
                    "properties": {"length": 5, "$lib": "posthog-python", "$lib_version": "7"},
                    "context": {"library": {"name": "posthog-python", "version": "7"}, "anonymous_id": "d-1"},
                }
            ],
        }
    ]


@pytest.mark.parametrize(
    ("capture", "type", "properties"),
    [
        ({"event": "$pageview", "properties": {"$current_url": "u"}}, "page-view", {"url": "u", "$current_url": "u"}),
        ({"event": "$screen", "properties": {"$screen_name": "s"}}, "screen-view", {"name": "s", "$screen_name": "s"}),
        (
            {"event": "$identify", "$set": {"a": 1}, "$set_once": {"a": 2, "b": 2}},
            "identify",
            {"a": 1, "set_once": {"a": 2, "b": 2}},
        ),
        ({"event": "$set", "properties": {"$set": {"a": 1}}}, "identify", {"a": 1}),
        ({"event": "$set_once", "$set_once": {"a": 1}}, "identify", {"set_once": {"a": 1}}),
        ({"event": "$create_alias", "properties": {"alias": "other"}}, "alias", {"previous_id": "other"}),
        (
            {"event": "$groupidentify", "properties": {"$group_type": "t", "$group_key": "g", "$group_set": {"n": 1}}},
            "group",
            {"group_id": "g", "group_type": "t", "traits": {"n": 1}},
        ),
        ({"event": "$autocapture", "properties": {}}, "autocapture", {}),
    ],
)
def test_events_of_theirs_that_mean_something_have_our_names(
    capture: dict[str, Any], type: str, properties: dict[str, Any]
):
    found = event({"distinct_id": "d", **capture})
    assert (found["type"], found["properties"]) == (type, properties)


def test_identify_ties_who_it_was_to_who_it_is():
    found = event({"event": "$identify", "distinct_id": "user-1", "properties": {"$anon_distinct_id": "anon-1"}})
    assert found["context"] == {"anonymous_id": "anon-1", "user_id": "user-1"}


@pytest.mark.parametrize(
    "capture",
    [
        {"event": "x", "distinct_id": "made-up", "properties": {"$is_server": True, "$process_person_profile": False}},
        {
            "event": "x",
            "distinct_id": "made-up",
            "options": {"process_person_profile": False},
            "properties": {"$is_server": True},
        },
        {
            "event": "$groupidentify",
            "distinct_id": "$company_g-1",
            "properties": {"$group_type": "company", "$group_key": "g-1", "$group_set": {}},
        },
    ],
)
def test_an_id_that_is_nobody_s_makes_no_profile(capture: dict[str, Any]):
    [payload] = made(capture)
    assert payload["profile_less"] is True
    assert "session" not in payload
    assert "anonymous_id" not in payload["events"][0]["context"]


def test_whom_a_browser_does_not_want_a_profile_for_yet_still_has_a_session():
    [payload] = made({"event": "x", "distinct_id": "d", "properties": {"$process_person_profile": False}})
    assert payload["session"] == {"id": "user:d"}


def test_a_distinct_id_may_stand_in_the_properties():
    [payload] = made({"event": "x", "properties": {"distinct_id": "d", "token": "k"}})
    assert payload["session"] == {"id": "user:d"}


def inflate(data: bytes, most: int) -> bytes:
    return gzip.decompress(data)


CAPTURE = b'{"event":"x","distinct_id":"d","api_key":"k"}'


@pytest.mark.parametrize(
    ("body", "content_type", "compression"),
    [
        (CAPTURE, "application/json", ""),
        (gzip.compress(CAPTURE, mtime=0), "text/plain", "gzip-js"),
        (urlencode({"data": b64encode(CAPTURE)}).encode(), "application/x-www-form-urlencoded", ""),
        (urlencode({"data": b64encode(CAPTURE)}).encode(), "application/x-www-form-urlencoded", "base64"),
    ],
)
def test_a_body_may_be_wrapped_in_all_their_ways(body: bytes, content_type: str, compression: str):
    assert unwrapped(body, content_type, compression, inflate) == CAPTURE


@pytest.mark.parametrize("body", [b"data=%%%", b"data=\xff", b"other=1&data=!"])
def test_a_wrapping_that_is_broken_is_refused(body: bytes):
    with pytest.raises(Refused):
        unwrapped(body, "application/x-www-form-urlencoded", "", inflate)


def test_a_message_alone_and_a_list_are_batches_too():
    assert len(translated(read(CAPTURE), plain)) == 1
    assert len(translated(read(b"[" + CAPTURE + b"," + CAPTURE + b"]"), plain)) == 2


def test_keys_may_stand_in_all_their_places():
    body = {"token": "a", "batch": [{"api_key": "b"}, {"properties": {"token": "c"}}, 7, {"properties": 7}]}
    assert keys_of(read(json.dumps(body).encode())) == {"a", "b", "c"}
