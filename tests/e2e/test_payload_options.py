"""What a payload may ask for beside its events: what is not stored, whose it is, and by which clock its times are."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import RECORDING, Installation
from tests.kit.waiting import until


@pytest.fixture(scope="module")
def door(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(SHOP, forked=True)
    installation.start(*RECORDING)
    installation.start_door()
    return installation


def view(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "page-view", "properties": {"page": "p"}, **more}


def send(door: Installation, *events: dict[str, Any], session: str | None = None, **more: Any) -> dict[str, Any]:
    """The door's answer to a payload that it takes."""
    answer = door.track(payload("shop", *events, session=session, **more))
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


COLUMNS = ("profile_id::text", "session_id", "saved", "properties", "context", "time_corrected")


def recorded(door: Installation, id: str) -> dict[str, Any]:
    """What is recorded of an event, by column."""
    query = f"select {', '.join(COLUMNS)} from events where id = %s"
    found = until(lambda: door.sql(query, id), 20, door.tell)[0]
    return dict(zip((name.partition(":")[0] for name in COLUMNS), found, strict=True))


def sessions(door: Installation, id: str) -> list[str]:
    """The profiles of the sessions that are stored under this id."""
    return [profile for (profile,) in door.sql("select profile_id::text from sessions where id = %s", id)]


def counted(door: Installation, profile: str) -> int:
    return int(door.one("select coalesce(sum(count), 0) from profile_counters where profile_id = %s::uuid", profile))


# --- what is not stored ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saves", [False, True])
def test_save_events_of_a_payload_says_whether_their_content_is_stored_and_they_count_anyway(
    door: Installation, saves: bool
) -> None:
    name = f"payload-{saves}"
    said = send(door, view(f"{name}-1"), view(f"{name}-2"), session=name, options={"saveEvents": saves})
    for id in (f"{name}-1", f"{name}-2"):
        found = recorded(door, id)
        assert (found["saved"], found["session_id"], found["profile_id"]) == (saves, name, said["profile"]["id"])
        assert (found["properties"], found["context"]) == (({"page": "p"}, {}) if saves else (None, None))
    assert counted(door, said["profile"]["id"]) == 2


def test_save_events_of_an_event_concerns_that_event_alone(door: Installation) -> None:
    hidden = view("own-hidden", options={"saveEvents": False}, context={"a": 1})
    send(door, hidden, view("own-shown", options={"saveEvents": True}), session="own")
    assert (recorded(door, "own-hidden")["properties"], recorded(door, "own-hidden")["context"]) == (None, None)
    assert recorded(door, "own-shown")["properties"] == {"page": "p"}
    send(door, view("both", options={"saveEvents": True}), options={"saveEvents": False})
    assert recorded(door, "both")["saved"] is False


def test_what_must_not_be_stored_is_not_kept_where_it_is_rejected_either(door: Installation) -> None:
    wrong = {"id": "hidden-wrong", "type": "order-completed", "properties": {"secret": "canary"}}
    send(door, view("beside"), wrong, session="hidden", options={"saveEvents": False})
    query = "select content from failures where event_id = 'hidden-wrong'"
    ((content,),) = until(lambda: door.sql(query), 20, door.tell)
    assert b"canary" not in bytes(content)


def test_a_session_that_is_not_to_be_stored_still_says_whose_its_events_are(door: Installation) -> None:
    said = [send(door, view(f"unsaved-{n}"), session="unsaved", options={"saveSession": False}) for n in range(2)]
    assert said[0]["session"] == {"id": "unsaved"}
    assert said[0]["profile"] == said[1]["profile"]
    for n in range(2):
        found = recorded(door, f"unsaved-{n}")
        assert (found["session_id"], found["profile_id"]) == (None, said[0]["profile"]["id"])
    assert sessions(door, "unsaved") == []
    kept = send(door, view("saved"), session="unsaved")
    assert recorded(door, "saved")["session_id"] == "unsaved"
    assert sessions(door, "unsaved") == [kept["profile"]["id"]] == [said[0]["profile"]["id"]]


def test_a_known_session_says_whose_events_are_that_ask_not_to_store_it(door: Installation) -> None:
    mine = send(door, view("known-1"), session="known-elsewhere")["profile"]["id"]
    recorded(door, "known-1")
    send(door, view("known-2"), session="known", profile={"id": mine})
    assert recorded(door, "known-2")["profile_id"] == mine
    send(door, view("known-3"), session="known")
    send(door, view("known-4"), session="known", options={"saveSession": False})
    assert recorded(door, "known-3")["profile_id"] == mine
    assert recorded(door, "known-4")["profile_id"] == mine


def test_the_events_of_a_session_that_is_not_to_be_stored_stay_in_their_order(door: Installation) -> None:
    ids = [f"ordered-{n}" for n in range(8)]
    for id in ids:
        send(door, view(id), session="ordered", options={"saveSession": False})
    for id in ids:
        recorded(door, id)
    lie_in = [one.partition() for one in door.records("events-valid") if json.loads(one.value() or b"")["id"] in ids]
    assert len(lie_in) == len(ids)
    assert len(set(lie_in)) == 1


def test_a_session_that_is_not_to_be_stored_is_not_when_its_rejected_event_is_sent_again(door: Installation) -> None:
    wrong = {"id": "again", "type": "order-completed", "properties": {"customer": {"id": "c"}}}
    options = {"saveSession": False}
    send(door, view("beside-again"), wrong, session="unsaved-again", options=options)
    query = "select topic || '/' || partition || '/' || \"offset\" || '/' || ordinal from failures where event_id = %s"
    ((place,),) = until(lambda: door.sql(query, "again"), 20, door.tell)
    mended = '/properties/order={"discs": 1, "total": 2}'
    done = door.command("rejected", "repair", place, "--set", mended, "--replay")
    assert done.returncode == 0, done.stderr
    assert recorded(door, "again")["session_id"] is None
    assert sessions(door, "unsaved-again") == []


@pytest.mark.parametrize("asked", [{"options": {"saveProfile": False}}, {"profile_less": True}])
def test_events_of_nobody_have_no_profile_and_make_none(door: Installation, asked: dict[str, Any]) -> None:
    name = f"nobodys-{next(iter(asked))}"
    before = door.one("select count(*) from profiles")
    said = send(door, view(f"{name}-1"), view(f"{name}-2"), session=name, **asked)
    assert (said["session"], said["profile"]) == ({"id": name}, None)
    for n in (1, 2):
        found = recorded(door, f"{name}-{n}")
        assert (found["profile_id"], found["properties"]) == (None, {"page": "p"})
    assert sessions(door, name) == []
    assert door.one("select count(*) from profiles") == before


@pytest.mark.parametrize("value", [None, 0, "false", {}])
def test_only_false_and_true_switch_anything(door: Installation, value: Any) -> None:
    name = f"odd-{json.dumps(value)}"
    options = dict.fromkeys(("saveEvents", "saveSession", "saveProfile"), value)
    said = send(door, view(name, options=options), session=name, options=options, profile_less=value)
    found = recorded(door, name)
    assert (found["saved"], found["session_id"], found["profile_id"]) == (True, name, said["profile"]["id"])


# --- context and tags ------------------------------------------------------------------------------------------------


def test_an_events_own_context_and_tags_lie_over_the_payloads_and_leave_its_siblings_alone(door: Installation) -> None:
    context = {"page": {"url": "/", "title": "T"}, "language": "en", "device": "phone", "tags": ["payload"]}
    own = {"page": {"url": "/b"}, "language": None, "tags": ["own"]}
    send(door, view("c-own", context=own), view("c-none"), view("c-tags", tags=["a", "ü b"]), context=context)
    assert recorded(door, "c-own")["context"] == {**context, **own}
    assert recorded(door, "c-none")["context"] == context
    assert recorded(door, "c-tags")["context"] == {**context, "tags": ["a", "ü b"]}
    send(door, view("c-both", context=own, tags=["last"]), view("c-alone", tags=["t"]), view("c-empty", tags=[]))
    assert recorded(door, "c-both")["context"] == {**own, "tags": ["last"]}
    assert recorded(door, "c-alone")["context"] == {"tags": ["t"]}
    assert recorded(door, "c-empty")["context"] == {}


@pytest.mark.parametrize(
    "tags", ["a", {"a": 1}, [1], [""], ["a\u0007"], ["t" * 101], [None], [["a"]], [str(n) for n in range(51)]]
)
def test_tags_that_are_none_are_a_reason(door: Installation, tags: Any) -> None:
    answer = door.track(payload("shop", view("tagged"), view("wrong-tags", tags=tags)))
    verdict = answer.json()["events"][1]
    assert [(reason["code"], reason["path"]) for reason in verdict["reasons"]] == [("invalid_tags", "/tags")]


# --- clocks ----------------------------------------------------------------------------------------------------------


def ages(door: Installation, id: str) -> float:
    """How many seconds before it was received an event happened."""
    query = "select extract(epoch from received_at - occurred_at) from events where id = %s"
    return float(until(lambda: door.sql(query, id), 20, door.tell)[0][0])


def written(time: datetime) -> str:
    return time.isoformat()


@pytest.mark.parametrize("off", [timedelta(hours=-26), timedelta(days=-400), timedelta(minutes=90), timedelta(days=9)])
def test_a_clock_that_is_off_either_way_is_corrected_by_as_much_as_sent_at_says(
    door: Installation, off: timedelta
) -> None:
    clock = datetime.now(UTC) + off
    name = f"clock-{off.total_seconds():.0f}"
    zone = clock.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    events = [
        view(f"{name}-old", timestamp=written(clock - timedelta(minutes=7))),
        view(f"{name}-zone", time={"insert": written(zone - timedelta(seconds=2))}),
        view(f"{name}-none"),
    ]
    send(door, *events, sent_at=written(clock))
    assert ages(door, f"{name}-old") == pytest.approx(420, abs=0.001)
    assert ages(door, f"{name}-zone") == pytest.approx(2, abs=0.001)
    assert ages(door, f"{name}-none") == 0
    assert recorded(door, f"{name}-old")["time_corrected"] is False


def test_without_sent_at_times_stay_as_they_are_and_what_is_still_ahead_with_it_is_replaced(door: Installation) -> None:
    send(door, view("as-told", timestamp="2001-02-03T04:05:06+01:00"))
    recorded(door, "as-told")
    told = "select occurred_at = timestamptz '2001-02-03 03:05:06Z' from events where id = 'as-told'"
    assert door.one(told)
    clock = datetime.now(UTC) - timedelta(days=2)
    send(door, view("ahead", timestamp=written(clock + timedelta(hours=1))), sent_at=written(clock))
    assert recorded(door, "ahead")["time_corrected"] is True
    assert ages(door, "ahead") == 0


def test_a_resend_at_another_time_is_a_duplicate_and_no_id_that_was_used_twice(door: Installation) -> None:
    clock = datetime.now(UTC) + timedelta(hours=5)
    event = view("resent", timestamp=written(clock))
    for seconds in (1, 61, 86_461):
        send(door, event, session="resent", sent_at=written(clock + timedelta(seconds=seconds)))
    send(door, event, session="resent")
    until(lambda: door.one("select count(*) from event_duplicates where id = 'resent'") == 3, 20, door.tell)
    assert door.one("select count(*) from events where id = 'resent' or reused_id = 'resent'") == 1
    assert door.one("select coalesce(sum(id_reused), 0) from recorded_counts") == 0
    assert ages(door, "resent") == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("sent_at", ["yesterday", 1750000000, {}, "2026-01-01", "10000-01-01T00:00:00Z"])
def test_a_time_of_sending_that_is_none_moves_nothing_and_costs_nothing(door: Installation, sent_at: Any) -> None:
    id = f"unsent-{sent_at}"
    send(door, view(id, timestamp="2026-01-01T12:00:00Z"), sent_at=sent_at)
    assert recorded(door, id)["properties"] == {"page": "p"}
    query = "select occurred_at at time zone 'utc' from events where id = %s"
    assert door.one(query, id).isoformat() == "2026-01-01T12:00:00"


@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_times_at_the_ends_of_the_calendar_are_taken(door: Installation, timestamp: str) -> None:
    for sent_at in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        id = f"ends-{timestamp[:4]}-{sent_at[:4]}"
        send(door, view(id, timestamp=timestamp), sent_at=sent_at)
        assert recorded(door, id)["properties"] == {"page": "p"}


def test_everything_that_was_taken_has_one_outcome(door: Installation) -> None:
    door.wait_through()
    assert set(door.require_balance()) == {"shop"}
