"""Single cases through the whole pipeline in memory: bad input, loops, poison, ids, sessions and people."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from schemas.definitions.inbound import Source
from schemas.failures import DeadLetter
from schemas.limits import MAX_HOPS, MAX_RECORD_BYTES
from schemas.origin import Origin, event_id_of
from schemas.profiles import SegmentationJob
from schemas.topics import (
    DEAD_LETTERS,
    EVENTS_ACCEPTED,
    EVENTS_REJECTED,
    MERGE_JOBS,
    PROFILE_CHANGES,
    SEGMENTATION_JOBS,
    WORKFLOW_RUNS,
    destination_topic,
)
from tests.driver import Driver
from tests.memory import Events, Identities, SourceCounts
from tests.unit.making import definitions
from workflows.definitions import Definitions

LOGIN = {
    "kind": "identification-point",
    "id": "login",
    "event_type": "login",
    "identifiers": [{"namespace": "user", "property": "user"}],
}
USER = {"kind": "namespace", "id": "user", "unique": True}
SHOP = {"kind": "source", "id": "shop"}


def workflow(event_type: str, **nodes: Any) -> list[dict[str, Any]]:
    """A workflow for every event of the type."""
    return [
        {"kind": "rule", "id": f"on-{event_type}", "event_type": event_type, "workflows": [event_type]},
        {"kind": "workflow", "id": event_type, "nodes": nodes},
    ]


def pipeline(*bodies: dict[str, Any]) -> Driver:
    return Driver(definitions(SHOP, USER, LOGIN, *bodies))


def sent(*events: dict[str, Any], session: str | None = "s1", source: str = "shop", **parts: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"source": {"id": source}, "events": list(events), **parts}
    return whole | ({"session": {"id": session}} if session else {})


def login(user: str, id: str | None = None) -> dict[str, Any]:
    return {"type": "login", "properties": {"user": user}, "id": id}


def live(driver: Driver) -> set[str]:
    return {id for id, row in driver.memory.profiles.items() if row.merged_into is None}


def owner(driver: Driver, id: str, source: str = "shop") -> str:
    return driver.memory.live(driver.memory.events[source, id].profile)


def user(driver: Driver, name: str) -> str:
    return driver.memory.live(driver.memory.identifiers["user", name])


def unaccounted(driver: Driver) -> int:
    """Events without an outcome, or, below zero, with more than one; 0 once all is quiet."""
    failed = sum(topic == "tracks" for topic, *_ in driver.memory.failures)
    return total(driver, "accepted") - total(driver, "recorded") - total(driver, "duplicate") - failed


def total(driver: Driver, what: str) -> int:
    return sum(count for (counted, _), count in driver.memory.counts.items() if counted == what)


def reasons(driver: Driver) -> list[list[str]]:
    return [[reason.code for reason in event.reasons] for event in driver.read(EVENTS_REJECTED)]


# --- what is wrong ---------------------------------------------------------------------------------------------------


async def test_one_bad_event_does_not_sink_its_siblings():
    driver = pipeline({"kind": "event-type", "id": "order", "schema": {"required": ["total"]}})
    good = [{"type": "view", "id": "v1"}, {"type": "order", "id": "o1", "properties": {"total": 1}}]
    bad = [{"type": "order", "id": "o2"}, 7, {"type": ""}, {"type": "view", "timestamp": "now"}]
    driver.send(sent(good[0], bad[0], bad[1], good[1], bad[2], bad[3]))
    await driver.run()
    assert {id for _, id in driver.memory.events} == {"v1", "o1"}
    assert reasons(driver) == [["schema_invalid"], ["event_not_object"], ["invalid_type"], ["invalid_timestamp"]]
    assert sorted(key[3] for key in driver.memory.failures) == [1, 2, 4, 5]
    assert total(driver, "accepted") == 6
    assert unaccounted(driver) == 0


async def test_a_rejected_event_can_be_mended_and_sent_again_from_what_is_kept_of_it():
    driver = pipeline()
    driver.send(sent({"type": "/", "id": "e1", "properties": {"a": [1]}}, profile={"id": "p"}, context={"c": 1}))
    await driver.run()
    (rejected,) = driver.read(EVENTS_REJECTED)
    kept = msgspec.json.decode(rejected.payload)
    kept["events"][0]["type"] = "mended"
    driver.send(kept)
    await driver.run()
    (event,) = driver.read(EVENTS_ACCEPTED)
    assert (event.id, event.type, event.session) == ("e1", "mended", "s1")
    assert (bytes(event.properties), bytes(event.context)) == (b'{"a":[1]}', b'{"c":1}')


@pytest.mark.parametrize(
    ("parts", "headers", "code"),
    [
        ({"source": {}}, {}, "no_source"),
        ({"source": {"id": 7}}, {}, "invalid_source"),
        ({"source": {"id": "elsewhere"}}, {}, "unknown_source"),
        ({"source": {"id": "off"}}, {}, "source_disabled"),
        ({"source": {"id": "web"}}, {}, "bridge_not_allowed"),
        ({"session": {"id": "undefined"}}, {}, "invalid_id"),
        ({"context": []}, {}, "invalid_context"),
        ({}, {"headwater-hops": str(MAX_HOPS + 1)}, "loop_detected"),
        ({}, {"headwater-hops": "999"}, "loop_detected"),
    ],
)
async def test_what_is_wrong_with_a_payload_is_a_reason_against_each_of_its_events(parts, headers, code):
    driver = pipeline(
        {"kind": "source", "id": "off", "enabled": False}, {"kind": "source", "id": "web", "bridges": ["http"]}
    )
    driver.send({**sent({"type": "a", "id": "one"}, {"type": "b"}), **parts}, headers=headers)
    driver.send(sent({"type": "a", "id": "good"}))
    await driver.run()
    assert [found[0] for found in reasons(driver)] == [code, code]
    assert [event.id for event in driver.read(EVENTS_REJECTED)] == ["one", event_id_of(Origin(0, 0, 1))]
    named = "" if code in ("no_source", "invalid_source") else parts.get("source", {"id": "shop"})["id"]
    assert {event.source for event in driver.read(EVENTS_REJECTED)} == {named}
    assert driver.memory.counts["accepted", named] == (2 if named != "shop" else 3)
    assert list(driver.memory.events) == [("shop", "good")]
    assert unaccounted(driver) == 0


async def test_a_fault_of_the_payload_is_reported_whatever_is_right_about_the_event():
    driver = pipeline({"kind": "event-type", "id": "order", "schema": {"required": ["total"]}})
    driver.send(sent({"type": "order", "properties": {"total": 1}}, source="elsewhere"))
    driver.send(sent({"type": "order", "properties": {}}, source="elsewhere"))
    await driver.run()
    assert [found[0] for found in reasons(driver)] == ["unknown_source", "unknown_source"]


async def test_the_door_may_write_for_a_source_that_others_may_not_write_for():
    driver = pipeline({"kind": "source", "id": "web", "bridges": ["http"]})
    driver.send(sent({"type": "a", "id": "e"}, source="web"), headers={"headwater-bridge": "http"})
    await driver.run()
    assert list(driver.memory.events) == [("web", "e")]


async def test_payloads_that_cannot_be_read_become_dead_letters_and_block_nobody():
    driver = pipeline()
    bodies = [b"{", b"\xff", b"[]", b'{"events":[]}', b"[" * 100_000, b"\0avro"]
    for body in bodies:
        driver.send(body, key="k")
        driver.send(sent({"type": "a"}))
    await driver.run()
    letters = driver.read(DEAD_LETTERS)
    assert [letter.value for letter in letters] == bodies
    assert {letter.key for letter in letters} == {b"k"}
    assert [letter.reason for letter in letters] == [
        "invalid_json",
        "invalid_encoding",
        "not_an_object",
        "empty_batch",
        "not_an_object",
        "invalid_json",
    ]
    assert len(driver.memory.events) == len(bodies)
    assert set(driver.memory.failures) == {("tracks", 0, 2 * number, -1) for number in range(len(bodies))}
    assert unaccounted(driver) == 0


async def test_records_without_a_value_and_with_odd_headers_block_nobody():
    driver = pipeline()
    driver.send(None)
    driver.send(b"")
    odd = {"headwater-hops": None, "headwater-bridge": None, "Faust-Ag-ReplyTo": "config", "": "x"}
    driver.send(sent({"type": "a", "id": "good"}), headers=odd)
    await driver.run()
    assert {(letter.offset, letter.reason) for letter in driver.read(DEAD_LETTERS)} == {
        (0, "null_value"),
        (1, "empty_value"),
    }
    assert len(driver.memory.failures) == 2
    assert list(driver.memory.events) == [("shop", "good")]


async def test_a_record_without_a_value_is_accounted_for():
    driver = pipeline()
    driver.send(None)
    await driver.run()
    assert unaccounted(driver) == 0


class Picky(Events):
    """A database that refuses events of one type."""

    async def record(self, events):
        recorded = await super().record(events)
        if any(event.type == "poison" for event in events):
            raise ValueError("cannot be stored")
        return recorded


class Fussy(SourceCounts):
    """A database that cannot count for one source."""

    async def accept(self, partition, events):
        if "fussy" in events:
            raise ValueError("cannot be counted")
        await super().accept(partition, events)


async def test_a_payload_that_nothing_can_be_done_with_is_a_dead_letter_at_its_place_in_tracks():
    driver = pipeline({"kind": "source", "id": "fussy"})
    driver.instead["counts"] = Fussy(driver.memory)
    for source in ("shop", "fussy", "shop"):
        driver.send(sent({"type": "a"}, {"type": "b"}, source=source))
    await driver.run()
    (letter,) = driver.read(DEAD_LETTERS)
    assert (letter.reason, letter.stage, letter.origin) == ("bug", "validate", Origin(0, 1, -1))
    assert letter.value == driver.logs["tracks"][1].value
    assert [event.origin.offset for event in driver.read(EVENTS_ACCEPTED)] == [0, 0, 2, 2]


@pytest.mark.parametrize("place", [0, 3, 6])
async def test_a_poison_event_is_found_in_its_batch_and_all_others_pass_in_order(place: int):
    driver = pipeline()
    driver.instead["recorded"] = Picky(driver.memory)
    types = ["a", "b", "c", "d", "e", "f"]
    types.insert(place, "poison")
    driver.send(sent(*({"type": type, "id": type} for type in types)))
    await driver.run()
    assert [event.type for event in driver.read(EVENTS_ACCEPTED)] == ["a", "b", "c", "d", "e", "f"]
    (letter,) = driver.read(DEAD_LETTERS)
    assert (letter.reason, letter.exception, letter.stage, letter.source) == ("bug", "ValueError", "persist", "shop")
    assert (letter.origin.offset, letter.origin.ordinal) == (0, place)
    assert [isinstance(failure, DeadLetter) for failure in driver.memory.failures.values()] == [True]
    assert unaccounted(driver) == 0


async def test_a_reused_id_is_counted_also_where_the_batch_was_tried_twice():
    driver = pipeline()
    driver.instead["recorded"] = Picky(driver.memory)
    driver.send(sent({"type": "a", "id": "one"}, {"type": "b", "id": "one"}, {"type": "poison", "id": "two"}))
    await driver.run()
    assert len(driver.memory.events) == 2
    assert total(driver, "id_reused") == 1


# --- what workflows make ---------------------------------------------------------------------------------------------

ECHO = workflow(
    "ping", again={"action": "emit-event", "config": {"type": "ping", "properties": {"n": "event.properties.n + 1"}}}
)


async def test_a_loop_of_workflows_ends_at_the_limit_and_says_so():
    driver = pipeline(*ECHO)
    driver.send(sent({"type": "ping", "id": "first", "properties": {"n": 0}}))
    await driver.run()
    events = driver.read(EVENTS_ACCEPTED)
    assert [event.hops for event in events] == list(range(MAX_HOPS + 1))
    assert [msgspec.json.decode(event.properties)["n"] for event in events] == list(range(MAX_HOPS + 1))
    assert len({event.id for event in events}) == MAX_HOPS + 1
    assert {(event.session, event.profile, event.source) for event in events} == {("s1", events[0].profile, "shop")}
    errors = [msgspec.json.decode(outcome)["ping"]["errors"] for outcome in driver.memory.runs.values()]
    assert errors == [[]] * MAX_HOPS + [[{"node": "again", "error": "loop_detected"}]]
    assert driver.memory.counters[events[0].profile, "ping"] == MAX_HOPS + 1
    assert unaccounted(driver) == 0


@pytest.mark.parametrize("time", [{}, {"timestamp": "2026-01-01T00:00:00Z"}], ids=["of Kafka", "of the client"])
async def test_what_an_emitted_event_sets_counts_over_its_cause_and_of_several_the_last(time: dict[str, str]):
    def set_to(event_type: str, value: str) -> dict[str, Any]:
        return {"kind": "mapping", "id": event_type, "event_type": event_type, "set": {"status": value}}

    def emit(number: int, **more: Any) -> dict[str, Any]:
        config = {"type": "step", "properties": {"to": f"'step {number}'"}}
        return {"action": "emit-event", "config": config, **more}

    nodes = workflow("cart", a=emit(1, then=["b"]), b=emit(2, then=["c"]), c=emit(3))
    driver = pipeline(set_to("cart", "'ordered'"), set_to("step", "event.properties.to"), *nodes)
    for number in range(20):  # neither their ids nor where they lie decide
        driver.send(sent({"type": "cart", "id": f"cart-{number}", **time}, session=f"s{number}"))
    await driver.run()
    assert {driver.memory.state(id).values()["status"] for id in live(driver)} == {"step 3"}


async def test_a_loop_that_claims_to_be_new_each_time_is_bounded_by_what_its_header_may_say():
    driver = pipeline(*ECHO)
    driver.send(sent({"type": "ping", "id": "x", "properties": {"n": 0}}), headers={"headwater-hops": "8"})
    driver.send(sent({"type": "ping", "id": "y", "properties": {"n": 0}}), headers={"headwater-hops": "-99999"})
    await driver.run()
    assert len(driver.memory.events) == (MAX_HOPS + 1 - 8) + (MAX_HOPS + 1)


async def test_an_emitted_event_passes_a_source_that_only_the_door_may_write_for():
    driver = pipeline({"kind": "source", "id": "web", "bridges": ["http"]}, *ECHO)
    driver.send(
        sent({"type": "ping", "properties": {"n": 0}}, source="web"),
        headers={"headwater-bridge": "http", "headwater-hops": str(MAX_HOPS - 1)},
    )
    await driver.run()
    assert [event.hops for event in driver.read(EVENTS_ACCEPTED)] == [MAX_HOPS - 1, MAX_HOPS]


async def test_sending_an_event_again_emits_nothing_again():
    driver = pipeline(*ECHO)
    for _ in range(2):
        driver.send(sent({"type": "ping", "id": "x", "properties": {"n": 0}}), headers={"headwater-hops": "8"})
        await driver.run()
    assert len(driver.memory.events) == 3
    assert len(driver.memory.duplicates) == 1


async def test_an_event_that_a_workflow_makes_too_large_leaves_its_cause_with_one_outcome():
    bigger = " + ".join(["event.properties.s"] * 5)
    huge = {"action": "emit-event", "config": {"type": "huge", "properties": {"s": bigger}}}
    driver = pipeline(*workflow("big", huge=huge))
    driver.send(sent({"type": "big", "id": "x", "properties": {"s": "x" * 250_000}}))
    await driver.run()
    assert list(driver.memory.events) == [("shop", "x")]
    assert unaccounted(driver) == 0
    (outcome,) = map(msgspec.json.decode, driver.memory.runs.values())
    assert outcome["big"]["errors"] == [{"node": "huge", "error": "event_too_large"}]


async def test_an_emitted_event_may_be_as_large_as_a_record_of_tracks_its_key_counted():
    """To the byte: what no record can hold is an error of its node, never of the event that led to it."""
    whole = " + ".join(["event.properties.s"] * 5 + ["event.properties.t"])
    huge = {"action": "emit-event", "config": {"type": "huge", "properties": {"s": whole}}}
    driver = pipeline(*workflow("big", huge=huge))

    def big(rest: int) -> dict[str, Any]:
        return sent(
            {"type": "big", "id": "x", "properties": {"s": "x" * 200_000, "t": "x" * rest}}, session=f"{rest:09}"
        )

    driver.send(big(0))
    await driver.run()
    record = driver.logs["tracks"][1]
    room = MAX_RECORD_BYTES - len(record.value) - len(record.key)
    for rest, fits in ((room, True), (room + 1, False), (room + 9, False), (room + 10, False)):
        driver = pipeline(*workflow("big", huge=huge))
        driver.send(big(rest))
        await driver.run()
        (outcome,) = map(msgspec.json.decode, driver.memory.runs.values())
        assert outcome["big"]["errors"] == ([] if fits else [{"node": "huge", "error": "event_too_large"}])
        assert len(driver.logs["tracks"]) == 1 + fits
        assert unaccounted(driver) == 0


@pytest.mark.parametrize(("session", "key"), [("s1", b"s1"), (None, None)])
async def test_an_emitted_event_lies_in_tracks_beside_those_of_its_session_or_profile(session: str | None, key: Any):
    driver = pipeline(*ECHO)
    driver.send(sent({"type": "ping", "properties": {"n": 0}}, session=session), headers={"headwater-hops": "9"})
    await driver.run()
    (profile,) = live(driver)
    assert driver.logs["tracks"][1].key == (key or profile.encode())
    assert [event.session for event in driver.read(EVENTS_ACCEPTED)] == [session, session]
    assert [event.profile for event in driver.read(EVENTS_ACCEPTED)] == [profile, profile]


async def test_a_workflow_that_logs_names_itself_and_the_event_and_nothing_of_its_content(caplog):
    driver = pipeline(*workflow("a", note={"action": "log", "config": {"message": "here"}}))
    driver.send(sent({"type": "a", "id": "e1", "properties": {"secret": "s3cret"}}))
    with caplog.at_level("INFO", "headwater.workflows"):
        await driver.run()
    assert [record.getMessage() for record in caplog.records] == ["workflow a, node note, event e1: here"]


async def test_an_unknown_workflow_is_noted_and_the_others_run():
    note = {
        "kind": "workflow",
        "id": "note",
        "nodes": {"a": {"action": "update-profile", "config": {"set": {"x": "1"}}}},
    }
    rule = {"kind": "rule", "id": "r", "event_type": "a", "workflows": ["gone", "note"]}
    driver = pipeline(note, rule)
    driver.send(sent({"type": "a"}))
    await driver.run()
    (outcome,) = map(msgspec.json.decode, driver.memory.runs.values())
    assert outcome["gone"]["errors"] == [{"node": "", "error": "unknown_workflow"}]
    assert outcome["note"] == {"nodes": ["a"], "errors": []}
    (profile,) = live(driver)
    assert driver.memory.state(profile).values() == {"x": 1}


async def test_an_event_that_no_rule_wants_counts_and_has_no_run():
    driver = pipeline()
    driver.send(sent({"type": "a"}))
    await driver.run()
    assert driver.memory.runs == {}
    (change,) = driver.read(PROFILE_CHANGES)
    assert change.counters == {"a": 1}


# --- what is kept ----------------------------------------------------------------------------------------------------


async def test_an_id_used_for_two_things_keeps_both_and_is_counted():
    driver = pipeline()
    driver.send(sent({"type": "a", "id": "one"}, {"type": "b", "id": "one"}, {"type": "a", "id": "one"}))
    driver.send(sent({"type": "b", "id": "one"}))
    await driver.run()
    assert sorted(event.type for event in driver.memory.events.values()) == ["a", "b"]
    assert [event.reused_id for event in driver.memory.events.values()] == [None, "one"]
    assert (total(driver, "id_reused"), total(driver, "duplicate")) == (1, 2)
    assert unaccounted(driver) == 0


async def test_an_event_sees_its_profiles_counters_as_they_were_with_it():
    driver = pipeline()
    types = [*"abacab", *"bbacc"]
    driver.send(sent(*({"type": type} for type in types[:6])))
    driver.send(sent(*({"type": type} for type in types[6:])))
    driver.send(sent({"type": "a"}, session="another"))
    await driver.run()
    *events, other = driver.read(EVENTS_ACCEPTED)
    assert [event.type for event in events] == types
    assert [event.counters for event in events] == [Counter(types[: n + 1]) for n in range(len(types))]
    assert other.counters == {"a": 1}


async def test_the_same_id_from_two_sources_is_two_events():
    driver = pipeline({"kind": "source", "id": "app"})
    driver.send(sent({"type": "a", "id": "one"}))
    driver.send(sent({"type": "a", "id": "one"}, source="app"))
    await driver.run()
    assert len(driver.memory.events) == 2


async def test_what_shall_not_be_saved_is_processed_and_counted_but_its_content_is_not_kept():
    driver = pipeline(
        {"kind": "source", "id": "brief", "ephemeral": True},
        *workflow("a", keep={"action": "copy-to-profile", "config": {"traits": {"seen": "secret"}}}),
    )
    event = {"type": "a", "properties": {"secret": 7}}
    driver.send(sent({**event, "id": "kept"}))
    driver.send(sent({**event, "id": "option", "options": {"saveEvents": False}}))
    driver.send(sent({**event, "id": "payload"}, options={"saveEvents": False}))
    driver.send(sent({**event, "id": "source"}, source="brief"))
    await driver.run()
    kept = {id: row.properties for (_, id), row in driver.memory.events.items()}
    assert kept == {"kept": b'{"secret":7}', "option": None, "payload": None, "source": None}
    assert len(driver.memory.runs) == 4
    assert [each.offset for each in driver.memory.archived] == [0]
    assert sum(driver.memory.counters.values()) == 4


async def test_a_clock_that_runs_ahead_is_set_to_the_time_of_receipt_and_one_that_lags_is_believed():
    driver = pipeline()
    driver.send(
        sent(
            *(
                {"type": "a", "id": time, "timestamp": time}
                for time in ("2026-01-01T00:05:00Z", "2026-01-01T00:05:01Z", "0001-01-01T00:00:00Z")
            )
        )
    )
    await driver.run()
    found = {event.id: (event.occurred_at.isoformat(), event.time_corrected) for event in driver.read(EVENTS_ACCEPTED)}
    assert found == {
        "2026-01-01T00:05:00Z": ("2026-01-01T00:05:00+00:00", False),
        "2026-01-01T00:05:01Z": ("2026-01-01T00:00:00+00:00", True),
        "0001-01-01T00:00:00Z": ("0001-01-01T00:00:00+00:00", False),
    }


async def test_an_event_is_stamped_with_the_revision_of_the_definitions_that_it_was_judged_by():
    driver = Driver(Definitions([Source(id="shop")], {}, revision=7))
    driver.send(sent({"type": "a"}, {"type": ""}))
    await driver.run()
    assert [event.revision for event in (*driver.read(EVENTS_ACCEPTED), *driver.read(EVENTS_REJECTED))] == [7, 7]


async def test_an_events_context_lies_on_top_of_its_payloads():
    driver = pipeline()
    driver.send(sent({"type": "a", "context": {"b": 3, "c": 4}}, {"type": "a"}, context={"a": 1, "b": 2}))
    driver.send(sent({"type": "a", "context": {"b": 3}}))
    await driver.run()
    assert [msgspec.json.decode(event.context) for event in driver.read(EVENTS_ACCEPTED)] == [
        {"a": 1, "b": 3, "c": 4},
        {"a": 1, "b": 2},
        {"b": 3},
    ]


# --- who it is -------------------------------------------------------------------------------------------------------


async def test_a_browser_that_keeps_its_profile_id_is_known_in_its_next_session():
    driver = pipeline()
    driver.send(sent({"type": "a", "id": "e1"}, session="s1"))
    await driver.run()
    (profile,) = live(driver)
    driver.send(sent({"type": "a", "id": "e2"}, session="s2", profile={"id": profile}))
    driver.send(sent({"type": "a", "id": "e3"}, session="s3", profile={"id": "made-up"}))
    await driver.run()
    assert owner(driver, "e1") == owner(driver, "e2") == profile != owner(driver, "e3")


async def test_anonymous_sessions_before_and_after_a_login_belong_to_the_person():
    driver = pipeline()
    driver.send(sent({"type": "a", "id": "e1"}, session="s1"))
    driver.send(sent({"type": "a", "id": "e2"}, session="s2"))
    driver.send(sent(login("ada"), session="s2"))
    driver.send(sent(login("ada"), session="s1"))
    driver.send(sent({"type": "a", "id": "e3"}, session="s1"))
    await driver.run()
    assert len(live(driver)) == 1
    assert {owner(driver, id) for id in ("e1", "e2", "e3")} == live(driver)


async def test_two_people_stay_two_where_a_person_has_only_one_number():
    driver = pipeline()
    driver.send(sent(login("ada"), session="s1"))
    driver.send(sent(login("bob"), session="s2"))
    driver.send(sent(login("bob", "shared"), session="s1"))
    await driver.run()
    assert user(driver, "ada") != user(driver, "bob") == owner(driver, "shared")
    people = tuple(sorted([user(driver, "ada"), user(driver, "bob")]))
    assert driver.memory.conflicts == {people: ("unique", "user")}


@pytest.mark.parametrize("value", ["null", "undefined", "anonymous", "", " ", 0, None, "[object Object]"], ids=repr)
async def test_junk_makes_no_person_of_strangers(value: Any):
    driver = pipeline()
    for session in ("s1", "s2"):
        driver.send(sent({"type": "login", "properties": {"user": value}}, session=session))
    await driver.run()
    assert len(live(driver)) == 2
    assert driver.memory.identifiers == {}


async def test_a_merge_by_a_trait_joins_everyone_who_has_its_value():
    join = {"action": "merge-profiles", "config": {"trait": "mail"}}
    copy = {"action": "copy-to-profile", "config": {"traits": {"mail": "mail"}}, "then": ["join"]}
    driver = pipeline(*workflow("signed-up", copy=copy, join=join))
    for session, mail in (("s1", "a@b.example"), ("s2", "c@d.example"), ("s3", "a@b.example"), ("s4", "a@b.example")):
        driver.send(sent({"type": "signed-up", "id": session, "properties": {"mail": mail}}, session=session))
    await driver.run()
    assert owner(driver, "s1") == owner(driver, "s3") == owner(driver, "s4") != owner(driver, "s2")
    assert driver.memory.state(owner(driver, "s1")).values() == {"mail": "a@b.example"}


class Racing(Identities):
    """Another lane links the same identifiers between our reading and our writing."""

    async def load(self, sessions, identifiers, profiles):
        return await super().load(sessions, [], profiles)


async def test_an_identifier_that_another_lane_linked_first_joins_both_profiles():
    driver = pipeline()
    driver.send(sent(login("ada", "e1"), session="s1"))
    await driver.run()
    driver.instead["identities"] = Racing(driver.memory)
    driver.send(sent(login("ada", "e2"), {"type": "view", "id": "e3"}, session="s2"))
    await driver.run()
    assert live(driver) == {owner(driver, "e1")} == {owner(driver, "e2")} == {owner(driver, "e3")}
    (job,) = driver.read(MERGE_JOBS)
    assert (job.profiles[0], job.cause, job.namespace, job.event) == (owner(driver, "e1"), "identifier", "user", "e2")


VIP = [
    {"kind": "segment", "id": "vip"},
    {"kind": "destination", "id": "crm", "condition": '"vip" in change.entered'},
    *workflow("praise", mark={"action": "segment", "config": {"segment": "vip"}}),
]


async def older_and_younger(driver: Driver, **options: Any) -> None:
    """An older profile without a name, and a younger one, Ada's, of which a workflow said that she is a VIP."""
    driver.send(sent({"type": "view", "id": "older"}, session="old"))
    driver.send(sent(login("ada"), {"type": "praise", "id": "younger"}, session="young"))
    await driver.run(**options)
    driver.send(sent(login("ada"), session="old"))
    await driver.run(**options)


async def test_what_a_model_says_of_a_segment_and_what_a_workflow_says_are_two_things():
    def says(event_type: str, **config: Any) -> list[dict[str, Any]]:
        return workflow(event_type, mark={"action": "segment", "config": {"segment": "vip", **config}})

    driver = pipeline(
        {"kind": "segment", "id": "vip"},
        *says("praise"),
        *says("scored", origin="model"),
        *says("blamed", do="remove"),
        *says("rescored", origin="model", do="remove"),
    )
    seen = []
    for number, types in enumerate((["praise", "scored"], ["blamed"], ["rescored"])):
        driver.send(sent(*({"type": type, "id": f"{number}-{type}"} for type in types), session="s1"))
        await driver.run()
        (profile,) = live(driver)
        seen.append(driver.memory.memberships[profile])
    assert seen == [{("vip", "workflow"), ("vip", "model")}, {("vip", "model")}, frozenset()]
    told = [(change.entered, change.left) for change in driver.read(PROFILE_CHANGES) if change.entered or change.left]
    assert told == [(["vip"], []), ([], ["vip"])]


async def test_a_membership_outlives_a_merge():
    driver = pipeline(*VIP)
    await older_and_younger(driver)
    (profile,) = live(driver)
    assert profile == owner(driver, "older") == owner(driver, "younger")
    assert driver.memory.memberships[profile] == {("vip", "workflow")}


async def test_a_membership_outlives_a_merge_that_comes_before_segment_has_heard_of_it():
    driver = pipeline(*VIP)
    await older_and_younger(driver, without=["segment"])
    await driver.run()
    (profile,) = live(driver)
    assert driver.memory.memberships[profile] == {("vip", "workflow")}


async def test_a_survivor_enters_the_segments_that_it_takes_over():
    driver = pipeline(*VIP)
    await older_and_younger(driver)
    (profile,) = live(driver)
    entered = [change.profile for change in driver.read(PROFILE_CHANGES) if "vip" in change.entered]
    assert entered[-1] == profile
    assert driver.read(destination_topic("crm"))[-1].profile == profile


async def test_an_event_of_nobody_has_no_profile_makes_none_and_is_routed_all_the_same():
    emit = {"action": "emit-event", "config": {"type": "heard", "properties": {"id": "event.id"}}}
    driver = pipeline(*workflow("ping", emit=emit))
    driver.send(sent({"type": "view", "id": "somebody"}, session="s1"))
    driver.send(sent({"type": "ping", "id": "nobody"}, login("ada"), session="s1", profile_less=True))
    await driver.run()
    accepted = {event.id: event for event in driver.read(EVENTS_ACCEPTED)}
    assert accepted["nobody"].profile is None
    (heard,) = [event for event in accepted.values() if event.type == "heard"]
    assert heard.profile is None
    assert live(driver) == {owner(driver, "somebody")}
    assert driver.memory.identifiers == {}
    assert dict(driver.memory.counters) == {(owner(driver, "somebody"), "view"): 1}


async def test_what_needs_a_profile_is_noted_where_an_event_has_none():
    nodes = {
        "tell": {"action": "send-to-destination", "config": {"destination": "crm"}},
        "enter": {"action": "segment", "config": {"segment": "vip"}},
    }
    driver = pipeline({"kind": "destination", "id": "crm"}, *workflow("ping", **nodes))
    driver.send(sent({"type": "ping", "id": "nobody"}, profile_less=True))
    await driver.run()
    (outcome,) = map(msgspec.json.decode, driver.memory.runs.values())
    assert outcome["ping"]["errors"] == [{"node": node, "error": "no_profile"} for node in ("tell", "enter")]


@pytest.mark.parametrize("value", [False, None, 1, "true", [], {}], ids=repr)
async def test_only_true_makes_an_event_nobodys(value: Any):
    driver = pipeline()
    driver.send(sent({"type": "view", "id": "e"}, profile_less=value))
    await driver.run()
    assert live(driver) == {owner(driver, "e")}


async def test_a_source_hears_of_new_profiles_and_sessions_where_it_asks_once():
    types = ["profile-created", "session-opened", "visit-started"]
    asks = {"kind": "source", "id": "app", "system_events": types}
    driver = pipeline(asks)
    for source in ("app", "shop"):
        for session in ("s1", "s1", "s2"):
            driver.send(sent({"type": "view"}, login("ada"), session=session, source=source))
    await driver.run()
    await driver.run()
    said = [(event.source, event.type) for event in driver.read(EVENTS_ACCEPTED) if event.type not in ("view", "login")]
    assert sorted(said) == [("app", type) for type in types for _ in "12"]
    assert len(live(driver)) == 1
    (opened, *_) = [event for event in driver.read(EVENTS_ACCEPTED) if event.type == "session-opened"]
    assert opened.session == "s1"
    assert msgspec.json.decode(opened.properties)["first_event"]


LOOKUP: tuple[dict[str, Any], ...] = (
    {"kind": "source", "id": "app", "lookup": ["plan", "notes", "missing"]},
    {
        "kind": "mapping",
        "id": "m",
        "event_type": "signed-up",
        "set": {"plan": "event.properties.plan", "notes": "event.properties.notes"},
    },
    {"kind": "rule", "id": "r", "event_type": "view", "condition": "event.traits.plan == 'pro'", "workflows": ["w"]},
    {
        "kind": "workflow",
        "id": "w",
        "nodes": {"u": {"action": "update-profile", "config": {"set": {"seen_as": "event.traits.plan"}}}},
    },
)


async def test_rules_and_workflows_see_the_traits_that_a_source_looks_up_as_they_were_at_identify():
    driver = pipeline(*LOOKUP)

    async def send(event: dict[str, Any], source: str = "app") -> None:
        driver.send(sent(event, session="s", source=source))
        await driver.run()

    await send({"type": "view"})
    await send({"type": "signed-up", "properties": {"plan": "pro", "notes": "x" * 2000}})
    await send({"type": "view"})
    await send({"type": "view"}, "shop")
    views = [event for event in driver.read(WORKFLOW_RUNS) if event.type == "view"]
    assert [(event.source, event.traits, event.workflows) for event in views] == [
        ("app", {}, []),
        ("app", {"plan": "pro"}, ["w"]),
        ("shop", {}, []),
    ]
    states = [driver.memory.state(profile).values() for profile in live(driver)]
    assert [state["seen_as"] for state in states if "seen_as" in state] == ["pro"]


ANNOUNCED: tuple[dict[str, Any], ...] = (
    {"kind": "segment", "id": "busy", "condition": "profile.counters.view > 1", "source": "shop"},
    {"kind": "segment", "id": "silent", "condition": "profile.counters.view > 1"},
    {"kind": "rule", "id": "welcome", "event_type": "segment-entered", "workflows": ["welcome"]},
    {
        "kind": "workflow",
        "id": "welcome",
        "nodes": {"w": {"action": "update-profile", "config": {"append": {"in": "event.properties.segment"}}}},
    },
)


async def test_who_enters_a_segment_is_an_event_that_rules_may_want_once():
    driver = pipeline(*ANNOUNCED)
    for _ in range(3):
        driver.send(sent({"type": "view"}, session="s"))
        await driver.run()
    said = [event for event in driver.read(EVENTS_ACCEPTED) if event.type.startswith("segment-")]
    assert [(event.type, msgspec.json.decode(event.properties)) for event in said] == [
        ("segment-entered", {"segment": "busy"})
    ]
    (profile,) = live(driver)
    assert said[0].profile == profile
    assert driver.memory.state(profile).values() == {"in": ["busy"]}
    assert unaccounted(driver) == 0


async def test_workflows_that_move_a_profile_in_and_out_of_a_segment_come_to_an_end():
    def moves(type: str, do: str) -> list[dict[str, Any]]:
        nodes = {"move": {"action": "segment", "config": {"segment": "ball", "do": do}}}
        return [
            {"kind": "rule", "id": type, "event_type": type, "workflows": [type]},
            {"kind": "workflow", "id": type, "nodes": nodes},
        ]

    ball = {"kind": "segment", "id": "ball", "source": "shop"}
    driver = pipeline(
        ball, *moves("kick-off", "add"), *moves("segment-entered", "remove"), *moves("segment-left", "add")
    )
    driver.send(sent({"type": "kick-off"}, session="s"))
    await driver.run()
    said = [event.type for event in driver.read(EVENTS_ACCEPTED) if event.type.startswith("segment-")]
    assert len(said) == MAX_HOPS
    assert unaccounted(driver) == 0


async def test_a_segment_that_is_new_says_nothing_of_who_is_in_it_already():
    driver = pipeline()
    driver.send(sent({"type": "view"}, {"type": "view"}, session="s"))
    await driver.run()
    (profile,) = live(driver)
    driver.definitions = definitions(SHOP, USER, LOGIN, *ANNOUNCED)
    driver.definitions.revision = 1
    job = SegmentationJob(profile=profile, changed=["segments"], silent=True, back_fill=True, revision=1)
    driver._append(SEGMENTATION_JOBS.encode(job))
    await driver.run()
    assert driver.read(PROFILE_CHANGES)[-1].entered == ["busy", "silent"]
    assert [event for event in driver.read(EVENTS_ACCEPTED) if event.type.startswith("segment-")] == []
