"""Erasing a person: looked for in every table, every topic and every file, and not brought back by anything."""

import json
from typing import Any

import fastavro
import pytest
import zstandard

from tests.conftest import MakeInstallation
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import ALL, Installation
from tests.kit.waiting import until

pytestmark = pytest.mark.slow

CANARY = "canary-4f1c"
PASSED_THROUGH = (
    *("tracks", "events-valid", "events-rejected", "events-identified", "events-accepted", "workflow-runs"),
    *("merge-jobs", "segmentation-jobs", "dead-letters"),
)
DEFINITIONS = (
    SHOP
    + """
---
kind: identification-point
id: customer
event_type: order-completed
identifiers:
  - {namespace: customer-id, path: customer.id}
---
kind: mapping
id: note
event_type: order-completed
set: {note: event.properties.note}
increment: {discs: event.properties.order.discs}
---
kind: rule
id: orders
event_type: order-completed
workflows: [tell]
---
kind: workflow
id: tell
nodes:
  emit: {action: emit-event, config: {type: thanked, properties: {whom: event.properties.note}}}
  crm: {action: send-to-destination, config: {destination: crm, properties: {whom: event.properties.note}}}
---
kind: segment
id: buyers
condition: profile.counters['order-completed'] > 0
---
kind: segment
id: strangers
condition: "!has(profile.traits.note)"
---
kind: destination
id: crm
"""
)


def order(number: str, who: str, session: str, discs: Any = 1, **event: Any) -> dict[str, Any]:
    properties = {"order": {"discs": discs, "total": 9}, "customer": {"id": who}, "note": f"note of {who}"}
    sent = {"id": number, "type": "order-completed", "properties": properties, **event}
    return payload("shop", sent, session=session, context={"page": {"title": f"hello {who}"}})


def send(shop: Installation, *bodies: dict[str, Any]) -> None:
    """Through all stages but the archive, which gathers for ten seconds."""
    for body in bodies:
        shop.write(json.dumps(body).encode(), body["session"]["id"].encode())
    shop.wait_through(stages=[stage for stage in ALL if stage != "archive"])


def found_in_tables(shop: Installation) -> list[str]:
    """The tables that hold the canary: as text, as bytes, or compressed."""
    tables = [name for (name,) in shop.sql("select tablename from pg_tables where schemaname = 'public'")]
    holds = f"where t::text like '%{CANARY}%' or t::text like '%{CANARY.encode().hex()}%'"
    found = [name for name in tables if shop.one(f'select count(*) from "{name}" t {holds}')]
    outboxes = [bytes(box) for (box,) in shop.sql("select outbox from stage_progress where outbox is not null")]
    plain = [zstandard.decompress(box) if box.startswith(b"\x28\xb5\x2f\xfd") else box for box in outboxes]
    return found + ["an outbox" for box in plain if CANARY.encode() in box]


def found_in_files(shop: Installation) -> list[str]:
    found = []
    for path in (shop.folder / "data").rglob("*.avro"):
        with path.open("rb") as file:
            found += [path.name for row in fastavro.reader(file) if CANARY in repr(row)]
    return found


def found_in_topics(shop: Installation) -> list[str]:
    return [t for t in PASSED_THROUGH for m in shop.records(t) if CANARY in repr((m.key(), m.value(), m.headers()))]


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    """With a person to erase, who came as a stranger at first, whose one order is wrong and another was and is mended;
    and another person."""
    installation = make_shared_installation(DEFINITIONS, forked=True)
    installation.start(*ALL)
    send(
        installation,
        payload("shop", {"id": "view", "type": "page-view", "properties": {"q": CANARY}}, session=f"{CANARY}-one"),
        order("bob-1", "bob", "bobs"),
        order("ann-1", f"{CANARY}-ann", "ann-two"),
        order("ann-2", f"{CANARY}-ann", f"{CANARY}-one"),
        order("ann-2", f"{CANARY}-ann", f"{CANARY}-one"),  # sent twice
        order("wrong", f"{CANARY}-ann", "ann-two", discs="many"),
        order("bobs-wrong", "bob", "bobs", discs="many"),
        order("mended", f"{CANARY}-ann", "ann-two", discs="many"),
    )
    (failed,) = [one for one in installation.json("rejected", "list") if one["event_id"] == "mended"]
    done = installation.command("rejected", "repair", failed["place"], "--set", "/properties/order/discs=2", "--replay")
    assert done.returncode == 0, done.stderr
    installation.wait_through()
    return installation


def test_a_person_who_is_erased_is_nowhere_and_nobody_else_is_touched(shop: Installation) -> None:
    assert {"events", "sessions", "identifiers", "failures", "profile_traits", "workflow_runs"} <= set(
        found_in_tables(shop)
    )
    assert found_in_files(shop) and found_in_topics(shop)
    ann = shop.json("profile", f"customer-id:{CANARY}-ann")
    profiles = {ann["id"]} | {
        id for (id,) in shop.sql("select id::text from profiles where merged_into = %s", ann["id"])
    }
    assert len(profiles) > 1
    bob, balance = shop.json("profile", "customer-id:bob"), shop.require_balance()

    plan = shop.command("erase", f"customer-id:{CANARY}-ann", "--dry-run")
    assert "7 events" in plan.stdout, plan
    assert shop.json("profile", ann["id"]) == ann, "a plan changes nothing"
    done = shop.command("erase", f"customer-id:{CANARY}-ann", "--yes")
    assert done.returncode == 0, done.stderr
    shop.wait_through()

    # Outboxes, compressed or as they are, go in a moment: see below.
    assert [name for name in found_in_tables(shop) if name not in ("an outbox", "stage_progress")] == []
    assert shop.sql("select event_id from failures where state = 'open'") == [("bobs-wrong",)]
    assert found_in_files(shop) == []
    until(lambda: found_in_tables(shop) == [], 60, lambda: str(found_in_tables(shop)))
    assert shop.command("erase", "--purge-topics").returncode == 0
    assert found_in_topics(shop) == []
    last = {change["profile"]: change for change in shop.bodies("profile-changes")}
    for profile in profiles:
        assert last[profile].get("erased") is True
        assert CANARY not in repr(last[profile]) and not last[profile].get("segments")
    # Who reads a destination's topic hears of it there; what they have not read yet goes with its retention.
    told = {delivery["profile"]: delivery["body"] for delivery in shop.bodies("destination-crm")}
    assert all(told[profile].get("erased") is True and CANARY not in repr(told[profile]) for profile in profiles)
    assert shop.json("profile", "customer-id:bob") == bob
    assert {name: numbers["recorded"] for name, numbers in shop.require_balance().items()} == {
        name: numbers["recorded"] for name, numbers in balance.items()
    }
    assert shop.sql("select * from memberships where profile_id = any(%s::uuid[])", list(profiles)) == []


def test_who_was_erased_is_brought_back_neither_by_a_replay_nor_by_what_comes_late(shop: Installation) -> None:
    state = shop.json("state-hash")
    shop.json("replay", "--yes")
    shop.wait_through()
    assert shop.json("state-hash") == state
    early = "2026-01-01T00:00:00Z"
    send(
        shop,
        order("ann-1", f"{CANARY}-ann", "ann-two", timestamp=early),  # sent once more
        order("ann-9", f"{CANARY}-ann", "another session", timestamp=early),  # known by the customer's number
        payload("shop", {"id": "late", "type": "page-view", "timestamp": early}, session=f"{CANARY}-one"),
    )
    until(lambda: found_in_tables(shop) == [], 60, lambda: str(found_in_tables(shop)))
    assert shop.one("select count(*) from dropped_events where reason = 'erased'") == 3
    assert shop.command("erase").returncode == 0
    assert found_in_files(shop) == [], "what came late was archived, and is cleaned by the next erase"
    assert shop.command("profile", f"customer-id:{CANARY}-ann").returncode == 1
    balance = shop.require_balance()["shop"]
    (said,) = [one for one in shop.json("status")["sources"] if one["source"] == "shop"]
    assert (said["recorded"], said["under_way"]) == (balance["recorded"], 0)


def test_who_comes_back_after_they_were_erased_is_a_new_person(shop: Installation) -> None:
    send(shop, order("ann-10", f"{CANARY}-ann", "ann-two"))
    again = shop.json("profile", f"customer-id:{CANARY}-ann")
    assert again["counters"] == {"order-completed": 1, "thanked": 1}
    assert again["totals"] == {"discs": 1}
