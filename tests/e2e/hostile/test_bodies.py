"""What is wrong with a body: refused whole and nothing of it written, or kept and its events rejected with reasons."""

import json

import pytest

from tests.e2e.hostile.bodies import ACCEPTED, REFUSED, REJECTED, body, event
from tests.kit.installation import Installation
from tests.kit.wire import HEALTH, MARK, Wire, code_of, request


def written(door: Installation) -> int:
    """How many records the door has written."""
    return sum(door.ends(["tracks"]).values())


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_gets_its_documented_answer_and_leaves_nothing(
    door: Installation, wire: Wire, case: str
) -> None:
    sent, status, code = REFUSED[case]
    before = written(door)
    answer = wire.ask(request(sent))
    assert (answer.status, code_of(answer)) == (status, code)
    assert set(json.loads(answer.body)["error"]) == {"code", "message", "request_id"}
    assert MARK not in answer.raw
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    # A body that is too large by what its head says is not read: nothing can follow it.
    assert wire.is_closed() if code == "body_too_large" else wire.ask(HEALTH).status == 200
    assert written(door) == before


@pytest.mark.parametrize("case", REJECTED)
def test_an_event_that_parses_and_is_wrong_is_kept_with_its_reason(door: Installation, wire: Wire, case: str) -> None:
    sent, reason = REJECTED[case]
    before = written(door)
    answer = wire.ask(request(sent))
    assert (answer.status, code_of(answer)) == (400, "no_acceptable_event")
    (verdict,) = json.loads(answer.body)["events"]
    assert verdict["status"] == "rejected"
    assert verdict["reasons"][0]["code"] == reason
    assert MARK not in answer.raw
    assert wire.ask(HEALTH).status == 200
    assert written(door) == before + 1


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_only_unusual_is_taken(door: Installation, wire: Wire, case: str) -> None:
    before = written(door)
    answer = wire.ask(request(ACCEPTED[case]))
    assert answer.status == 200, answer.body
    assert {verdict["status"] for verdict in json.loads(answer.body)["events"]} == {"accepted"}
    assert MARK not in answer.raw
    assert wire.ask(HEALTH).status == 200
    assert written(door) == before + 1


def test_wrong_events_do_not_sink_those_beside_them(wire: Wire) -> None:
    mixed = [event(id="first"), 1, event(type=""), event(properties={"a": "x" * 262_144}), event(id="last")]
    answer = wire.ask(request(body(*mixed)))
    assert answer.status == 200
    verdicts = json.loads(answer.body)["events"]
    assert [one["status"] for one in verdicts] == ["accepted", "rejected", "rejected", "rejected", "accepted"]
    assert (verdicts[0]["id"], verdicts[-1]["id"]) == ("first", "last")


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/v1/identify", "/batch", "/e/", "/collect/any/shop/s"])
def test_no_body_at_all_breaks_what_other_libraries_call(wire: Wire, path: str) -> None:
    """As what it counts there is for others to say; never as an error of ours, and never repeated."""
    refused, rejected = (one for one, _, _ in REFUSED.values()), (one for one, _ in REJECTED.values())
    for sent in (*refused, *rejected, *ACCEPTED.values()):
        answer = wire.ask(request(sent, path=path.encode() + b"?writeKey=shop"))
        assert answer.status < 500, sent[:200]
        assert MARK not in answer.raw
