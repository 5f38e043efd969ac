"""What failed and is sent again: what goes to which topic, as what, and what must not be sent."""

from typing import Any

import msgspec
import pytest

from deploy.operations.repairing import REMOVED, RepairError, _put
from deploy.operations.resending import MAX_ATTEMPTS, _message, _refusal
from deploy.settings import Settings
from schemas.codecs import Message
from schemas.origin import Origin
from schemas.profiles import ProfileChange, SegmentationJob, Send
from schemas.replays import Replay
from schemas.topics import CATALOGUE
from tests.unit.making import moment
from workflows.replays import Replays

REPLAYS = Replays(b"the key of these tests")
SETTINGS = Settings(topic_prefix="p-")
EXISTING = {f"p-{topic.name}": 4 for topic in CATALOGUE}


def failure(**fields: Any) -> dict[str, Any]:
    """A row as it is read to be sent again: a rejected event of the source shop."""
    return {
        "topic": "tracks",
        "partition": 2,
        "offset": 40,
        "ordinal": 1,
        "kind": "rejected",
        "stage": "validate",
        "source": "shop",
        "reasons": [{"code": "schema_invalid"}],
        "key": None,
        "content": b'{"session":{"id":"s"},"events":[{}]}',
        "received_at": moment(5),
        "read_from": "tracks",
        "hops": 0,
        "quiet": False,
        "counted": True,
        "attempt": 0,
        "next_attempt": 1,
        "lay_there": True,
        "landed": False,
    } | fields


def letter(stage: str, read_from: str, code: str = "bug", **fields: Any) -> dict[str, Any]:
    return failure(
        kind="dead-letter", stage=stage, read_from=read_from, reasons=[{"code": code}], counted=False, **fields
    )


def refusal(row: dict[str, Any], force: bool = False) -> str | None:
    return _refusal(row, EXISTING, SETTINGS, force)


def said(message: Message) -> Replay:
    replay = REPLAYS.read(dict(message.headers)["headwater-replay"], message.value)
    assert replay is not None
    return replay


def test_a_rejected_event_goes_to_its_session_with_its_origin_its_time_and_its_count() -> None:
    message = _message(failure(hops=3, quiet=True), REPLAYS, 12)
    assert (message.topic, message.key) == ("tracks", b"s")
    place, received_ms = Origin(2, 40, 1), 1767225605000
    assert said(message) == Replay(place, received_ms, "failure", "shop", quiet=True, attempt=1, revision=12)
    assert dict(message.headers)["headwater-hops"] == b"3"


@pytest.mark.parametrize(
    ("code", "counted", "wanted"), [("bug", False, None), ("bug", True, "shop"), ("bad", True, "shop")]
)
def test_a_payload_that_no_step_had_counted_is_counted_when_it_lands(
    code: str, counted: bool, wanted: str | None
) -> None:
    row = letter("validate", "tracks", code, ordinal=-1) | {"counted": counted}
    assert said(_message(row, REPLAYS, 12)).counted == wanted


def test_what_failed_later_goes_to_the_topic_that_it_was_read_from() -> None:
    message = _message(letter("persist", "events-identified", next_attempt=3), REPLAYS, 12)
    assert message.topic == "events-identified"
    assert message.headers == [("headwater-attempt", b"3"), ("headwater-revision", b"12")]


def test_an_old_change_is_never_said_after_newer_ones_the_profile_is_said_anew() -> None:
    change = ProfileChange(profile="p", version=3, at=moment(0), changed=["traits.name"])
    message = _message(letter("deliver", "profile-changes", content=msgspec.json.encode(change)), REPLAYS, 12)
    assert message.topic == "segmentation-jobs"
    job = msgspec.json.decode(message.value or b"", type=SegmentationJob)
    assert job == SegmentationJob(profile="p", changed=["traits.name"], revision=12)
    change.sends = [Send(id="x", destination="d", event_type="e")]
    assert refusal(letter("deliver", "profile-changes", content=msgspec.json.encode(change)))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (failure(reasons=[{"code": "loop_detected"}]), "loop"),
        (failure(content=b"{}"), "not to be kept"),
        (letter("record-failures", "dead-letters"), "about a dead letter"),
        (letter("archive", "tracks"), "archive"),
        (letter("persist", "config"), "does not read config"),
        (letter("x", "profile-changes"), "does not read profile-changes"),
        (letter("", ""), "does not read"),
        (letter("dispatch-gone", "destination-gone"), "not there any more"),
        (letter("validate", "tracks", lay_there=False), "nothing has lain"),
        (letter("validate", "tracks", landed=True), "has an event"),
        (letter("deliver", "profile-changes", content=b"garbage"), "not a change"),
        (letter("deliver", "profile-changes", content=b'{"profile": 7}'), "not a change"),
        (letter("deliver", "profile-changes", content=b"\xff"), "not a change"),
        (letter("deliver", "profile-changes", content=b'{"profile":"\xff"}'), "not a change"),
        (letter("deliver", "profile-changes", content=b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"), "not a change"),
    ],
)
def test_what_must_not_be_sent_again_is_not_even_by_force(row: dict[str, Any], why: str) -> None:
    assert why in str(refusal(row))
    assert why in str(refusal(row, force=True))


@pytest.mark.parametrize(
    "row", [failure(attempt=5, next_attempt=MAX_ATTEMPTS + 1), failure(reasons=[{"code": "bridge_not_allowed"}])]
)
def test_what_fails_again_and_again_or_may_not_come_this_way_takes_force(row: dict[str, Any]) -> None:
    assert refusal(row)
    assert refusal(row, force=True) is None


def test_the_rest_is_sent() -> None:
    assert refusal(failure()) is None
    assert refusal(letter("persist", "events-identified")) is None
    assert refusal(letter("validate", "tracks")) is None


@pytest.mark.parametrize(
    ("pointer", "value", "wanted"),
    [
        ("/type", "b", {"type": "b", "items": [{"n": 1}, {"n": 2}]}),
        ("/items/1/n", None, {"type": "a", "items": [{"n": 1}, {"n": None}]}),
        ("/items/0", REMOVED, {"type": "a", "items": [{"n": 2}]}),
        ("/type", REMOVED, {"items": [{"n": 1}, {"n": 2}]}),
        ("/nothing", REMOVED, {"type": "a", "items": [{"n": 1}, {"n": 2}]}),
        ("/new/deep", 1, {"type": "a", "items": [{"n": 1}, {"n": 2}], "new": {"deep": 1}}),
        ("/a~1b", 1, {"type": "a", "items": [{"n": 1}, {"n": 2}], "a/b": 1}),
    ],
)
def test_a_repair_changes_what_the_pointer_names(pointer: str, value: Any, wanted: dict[str, Any]) -> None:
    event: dict[str, Any] = {"type": "a", "items": [{"n": 1}, {"n": 2}]}
    _put(event, pointer, value)
    assert event == wanted


@pytest.mark.parametrize("pointer", ["/items/2/n", "/items/x", "/type/deep"])
def test_a_repair_of_what_is_not_there_is_refused(pointer: str) -> None:
    with pytest.raises(RepairError, match=r"list|neither"):
        _put({"type": "a", "items": [{"n": 1}, {"n": 2}]}, pointer, 1)
