"""Payloads without the events of somebody who was erased."""

import json

from workflows.erasing import is_rest_of, without

SENT = json.dumps({"source": {"id": "shop"}, "events": [{"id": "a"}, {"id": "b"}]}).encode()


def test_the_places_of_the_other_events_are_kept():
    kept = without(SENT, {0})
    assert kept is not None and json.loads(kept)["events"] == [None, {"id": "b"}]


def test_what_stays_is_kept_byte_for_byte_and_what_was_shared_with_the_erased_is_not():
    sent = (
        b'{"context": {"email": "a@b.example"}, "session":{"id":"s"}, "events":[{"id": "a"}, {"n": 1.50,  "id":"b"}]}'
    )
    assert without(sent, {0}) == b'{"session":{"id":"s"},"events":[null,{"n": 1.50,  "id":"b"}]}'


def test_what_cannot_be_told_apart_goes_as_a_whole():
    assert without(b'{"events": [{"id": "a"}, {"n": 1e999}', {0}) is None
    assert json.loads(without(b'{"events": [{"id": "a"}, {"n": 1e999}]}', {0}) or b"")["events"][1] == {
        "n": float("inf")
    }


def test_a_payload_of_which_nothing_is_left_goes_as_a_whole():
    assert without(SENT, {0, 1}) is None
    assert without(SENT, {-1}) is None, "the payload itself had failed"
    assert without(without(SENT, {0}) or b"", {1}) is None


def test_what_is_left_of_a_payload_is_known_as_its_rest_and_another_payload_is_not():
    assert is_rest_of(SENT, SENT)
    assert is_rest_of(b"not JSON", b"not JSON")
    assert is_rest_of(without(SENT, {1}), SENT)
    other = json.dumps({"events": [{"id": "c"}, {"id": "b"}]}).encode()
    for kept, sent in ((without(SENT, {1}), other), (b"{}", SENT), (b"x", SENT), (None, SENT), (SENT, other)):
        assert not is_rest_of(kept, sent)
