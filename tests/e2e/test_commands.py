"""The commands that look at an installation tell the truth, and `reprocess` runs each event once."""

import json
from pathlib import Path

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import Installation
from tests.kit.processes import Child
from tests.kit.waiting import until

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "segment", "record-failures")
POINT = """
---
kind: identification-point
id: customer
event_type: order-completed
identifiers: [{namespace: customer-id, property: customer.id}]
"""
RULE = """
kind: rule
id: late
event_type: order-completed
workflows: [sum]
---
kind: workflow
id: sum
nodes:
  add: {action: update-profile, config: {increment: {discs: event.properties.order.discs}}}
"""


def order(id: str, customer: str, discs: int) -> dict:
    properties = {"order": {"discs": discs, "total": 9.99}, "customer": {"id": customer}}
    return {"id": id, "type": "Order Completed", "properties": properties}


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    """With three orders of two customers, one of them sent twice, and one that the schema forbids."""
    installation = make_shared_installation(SHOP + POINT)
    installation.start(*STAGES)
    for events in (
        [order("o-1", "X", 2), order("o-bad", "X", 0)],
        [order("o-2", "X", 3)],
        [order("o-3", "Y", 4)],
        [order("o-1", "X", 2)],
    ):
        installation.write(json.dumps(payload("shop", *events)).encode())
    installation.wait_through()
    return installation


def test_status_shows_no_lag_and_an_exact_accounting(shop: Installation) -> None:
    status = shop.json("status")
    assert {stage["stage"]: stage["lag"] for stage in status["stages"] if stage["stage"] in STAGES} == dict.fromkeys(
        STAGES, 0
    )
    (source,) = status["sources"]
    wanted = {"source": "shop", "accepted": 5, "recorded": 3, "duplicates": 1, "rejected": 1, "dead_letters": 0}
    assert {**source, **wanted, "under_way": 0} == source
    assert (status["profiles"], status["events"]) == (4, 3) or status["events"] == 3


def test_status_shows_what_waits_before_a_stage_that_does_not_run(shop: Installation) -> None:
    before = {stage["stage"]: stage["lag"] for stage in shop.json("status")["stages"]}
    assert before["archive"] == sum(shop.ends(["tracks"]).values())
    assert before["deliver"] >= 2


def test_an_event_is_found_by_its_id(shop: Installation) -> None:
    found = shop.json("event", "o-1")
    (recorded,) = found["recorded"]
    assert (recorded["source"], recorded["type"], recorded["state"]) == ("shop", "order-completed", "received")
    assert len(found["duplicates"]) == 1
    assert set(found) == {"recorded", "duplicates"}
    (failure,) = shop.json("event", "o-bad")["failures"]
    assert [failure[name] for name in ("kind", "stage", "state", "attempt")] == ["rejected", "validate", "open", 0]
    unknown = shop.command("event", "nobody-knows")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("Error: ")
    assert len(unknown.stderr.splitlines()) == 1


def test_events_are_browsed_by_type_source_profile_and_state(shop: Installation) -> None:
    def ids(*filters: str) -> set[str]:
        return {event["id"] for event in shop.json("events", *filters)}

    assert ids() == ids("--type", "order-completed") == ids("--source", "shop") == {"o-1", "o-2", "o-3"}
    assert ids("--type", "page-view") == ids("--source", "other") == set()
    assert ids("--since", "1h") == {"o-1", "o-2", "o-3"}
    assert ids("--since", "2999-01-01") == set()
    assert ids("--profile", shop.json("profile", "customer-id:X")["id"]) == {"o-1", "o-2"}
    assert len(ids("--limit", "1")) == 1


def test_a_profile_is_found_by_an_identifier_and_by_its_id_live_or_merged(shop: Installation) -> None:
    found = shop.json("profile", "customer-id:X")
    assert found["counters"] == {"order-completed": 2}
    assert [(one["namespace"], one["value"]) for one in found["identifiers"]] == [("customer-id", "X")]
    assert {event["id"] for event in found["events"]} == {"o-1", "o-2"}
    assert shop.json("profile", found["id"]) == found
    words = [line.split() for line in shop.command("profile", "customer-id:X").stdout.splitlines()]
    assert ["namespace", "value", "source", "first_seen", "last_seen", "verified"] in words
    assert ["received_at", "type", "source", "id", "state"] in words
    merged = shop.sql("select id::text from profiles where merged_into = %s", found["id"])
    assert merged
    for (id,) in merged:
        assert shop.json("profile", id)["id"] == found["id"]
    assert shop.command("profile", "customer-id:Z").returncode == 1


def test_rejected_events_are_listed_by_reason(shop: Installation) -> None:
    (found,) = shop.json("rejected", "list", "--reason", "schema_invalid")
    assert (found["event_id"], found["source"], found["type"]) == ("o-bad", "shop", "order-completed")
    assert [reason["path"] for reason in found["reasons"]] == ["/properties/order/discs"]
    assert shop.json("rejected", "list", "--reason", "unknown_source") == []


def test_reprocess_runs_events_that_no_rule_wanted_once_however_often_it_is_repeated(shop: Installation) -> None:
    assert {event["state"] for event in shop.json("events")} == {"received"}
    shop.apply(RULE)
    dry = shop.command("reprocess", "--dry-run")
    assert "3 events looked at, 3 wanted by a rule now: would run" in dry.stdout
    assert {event["state"] for event in shop.json("events")} == {"received"}
    for _ in range(2):
        assert shop.command("reprocess", "--type", "order-completed").returncode == 0
    shop.wait_through()
    assert shop.command("reprocess").stdout.startswith("0 events looked at")
    assert {event["state"] for event in shop.json("events")} == {"processed"}
    discs = {value: shop.json("profile", f"customer-id:{value}")["totals"]["discs"] for value in ("X", "Y")}
    assert {value: float(total) for value, total in discs.items()} == {"X": 5, "Y": 4}
    # A new event of that type is wanted at once.
    shop.write(json.dumps(payload("shop", order("o-4", "Y", 1))).encode())
    shop.wait_through()
    assert float(shop.json("profile", "customer-id:Y")["totals"]["discs"]) == 5
    assert shop.json("event", "o-4")["recorded"][0]["state"] == "processed"


def test_tail_prints_the_last_records_and_goes_on_with_those_that_come(shop: Installation, tmp_path: Path) -> None:
    shop.write(b'{"source": {"id": "nobody"}, "events": [{"type": "before"}]}')
    assert [json.loads(line) for line in shop.command("tail", "tracks", "--limit", "1").stdout.splitlines()] == [
        {"source": {"id": "nobody"}, "events": [{"type": "before"}]}
    ]
    tail = Child(["tail", "tracks", "--limit", "1", "--follow"], shop.variables(), tmp_path / "tail.log", forked=True)
    try:
        until(lambda: "before" in tail.output(), why=tail.output)
        for number in range(3):  # wherever they lie
            shop.write(b'{"source": {"id": "nobody"}, "events": [{"type": "after-%d"}]}' % number, key=b"%d" % number)
        until(lambda: tail.output().count("after-") == 3, why=tail.output)
    finally:
        tail.kill()
    assert tail.output().count("before") == 1


def test_tail_prints_as_many_records_as_it_was_asked_for(shop: Installation) -> None:
    for number in range(4):
        shop.write(json.dumps(payload("shop", order(f"tail-{number}", "T", 1))).encode())
        shop.wait_through()
    changes = sorted(shop.records("profile-changes"), key=lambda record: record.timestamp()[1])
    printed = shop.command("tail", "profile-changes", "--limit", "4").stdout.splitlines()
    assert [line.encode() for line in printed] == [change.value() for change in changes[-4:]]


def test_rules_explain_says_of_a_recorded_event_which_rules_want_it_and_why(shop: Installation) -> None:
    large = """---
kind: rule
id: large
event_type: order-*
priority: 5
condition: event.properties.order.discs > 2 && profile.counters['order-completed'] > 0
workflows: [sum]
"""
    shop.apply(RULE + large)
    found = {one["rule"]: one for one in shop.json("rules", "explain", "o-1")}
    assert {name: one["matched"] for name, one in found.items()} == {"large": False, "late": True}
    assert found["large"]["values"] == {"event.properties.order.discs": 2, "profile.counters.order-completed": 2}
    told = shop.command("rules", "explain", "o-3").stdout.splitlines()
    assert told[:2] == ["+ rule large (priority 5): its condition holds", "    runs sum"]
    assert "    event.properties.order.discs = 4" in told
    assert shop.command("rules", "explain", "nobody").returncode == 1
