"""Operators' acts on what failed: looked at, repaired, sent again, given up; each event lands once."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded.process import usable_port
from tests.conftest import MakeInstallation
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import Installation
from tests.kit.processes import Child
from tests.kit.waiting import until

pytestmark = pytest.mark.slow

DEFINITIONS = (
    SHOP
    + """
---
kind: rule
id: orders
event_type: order-completed
workflows: [sum]
---
kind: workflow
id: sum
nodes:
  add: {action: update-profile, config: {increment: {discs: event.properties.order.discs}}}
"""
)
STAGES = ("validate", "identify", "persist", "route", "run-workflows", "segment", "record-failures")


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS)
    installation.start(*STAGES)
    installation.start_door()
    return installation


def order(id: str, session: str, discs: Any = 2) -> dict[str, Any]:
    properties = {"order": {"discs": discs, "total": 1.5}, "customer": {"id": "c"}}
    return payload("shop", {"id": id, "type": "order-completed", "properties": properties}, session=session)


def discs_of(shop: Installation, session: str) -> int:
    return int(
        shop.one(
            "select coalesce(sum((t.totals->>'discs')::numeric), 0) from profile_traits t "
            "join sessions s on s.profile_id = t.profile_id where s.id = %s",
            session,
        )
    )


def failed(shop: Installation, group: str, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.json(group, "list", *arguments)
    return found


def test_a_rejected_event_is_repaired_and_lands_once_with_its_origin_and_its_id(shop: Installation) -> None:
    answer = shop.track(order("mend-1", "mending", "many"))
    assert answer.status_code == 400
    shop.track(order("mend-2", "mending", 5))
    (row,) = until(lambda: failed(shop, "rejected", "--reason", "schema_invalid"), 30, shop.tell)
    assert (row["event_id"], row["source"], row["type"]) == ("mend-1", "shop", "order-completed")
    assert row["reasons"][0]["path"] == "/properties/order/discs"
    shown = shop.json("rejected", "show", row["place"])
    assert shown["content"]["events"][0]["properties"]["order"]["discs"] == "many"
    # Sent again as it is, it comes back.
    assert shop.json("rejected", "replay", row["place"])["sent"] == 1
    shop.wait_through()
    (again,) = failed(shop, "rejected")
    assert (again["place"], again["attempt"], again["state"]) == (row["place"], 1, "open")
    assert shop.command("rejected", "repair", row["place"], "--set", "/properties/order/discs=3").returncode == 0
    for _ in range(2):
        shop.json("rejected", "replay", "--all")
        shop.wait_through()
    assert failed(shop, "rejected") == []
    assert discs_of(shop, "mending") == 8
    partition, offset, ordinal = row["place"].removeprefix("tracks/").split("/")
    origin = "origin_partition, origin_offset, origin_ordinal"
    assert shop.sql(f"select {origin} from events where id = 'mend-1'") == [(int(partition), int(offset), int(ordinal))]
    assert shop.one("select repaired_by from failures where event_id = 'mend-1'")
    shop.require_balance()


def test_a_repaired_event_that_is_not_sent_again_is_an_error(shop: Installation) -> None:
    shop.track(order("five", "failing", "many"))
    (row,) = until(lambda: failed(shop, "rejected"), 30, shop.tell)
    shop.sql("update failures set attempt = 5 where event_id = 'five' returning 1")
    done = shop.command("rejected", "repair", row["place"], "--set", "/properties/order/discs=3", "--replay")
    assert done.returncode == 1
    assert "not sent: it failed 5 times" in done.stderr
    assert shop.command("rejected", "drop", "--all", "--yes").returncode == 0


def test_a_dead_letter_comes_back_until_it_is_given_up(shop: Installation) -> None:
    shop.write(b"not json at all")
    (row,) = until(lambda: failed(shop, "dead-letters", "--stage", "validate"), 30, shop.tell)
    for attempt in range(1, 6):
        assert shop.json("dead-letters", "replay", row["place"])["sent"] == 1
        shop.wait_through()
        (row,) = failed(shop, "dead-letters")
        assert row["attempt"] == attempt
    refused = shop.json("dead-letters", "replay", row["place"])
    assert refused["sent"] == 0
    assert "failed 5 times" in refused["refused"][row["place"]]
    assert shop.command("dead-letters", "drop", "--all", "--yes").returncode == 0
    assert failed(shop, "dead-letters") == []
    assert shop.one("select length(content) from failures where kind = 'dead-letter'") == 0
    shop.require_balance()


def test_what_a_replay_that_died_was_sending_is_sent_once_more_and_lands_once(shop: Installation) -> None:
    shop.track(order("died-1", "dying", "many"))
    shop.track(order("died-2", "dying", 5))
    until(lambda: failed(shop, "rejected", "--reason", "schema_invalid"), 30, shop.tell)
    (row,) = failed(shop, "rejected")
    shop.command("rejected", "repair", row["place"], "--set", "/properties/order/discs=3")
    assert shop.json("rejected", "replay", row["place"])["sent"] == 1
    # As if it had died after it had sent it, and before it noted that.
    assert shop.sql("update failures set state = 'sending' where event_id = 'died-1' returning attempt") == [(1,)]
    (row,) = failed(shop, "rejected")
    assert row["state"] == "sending"
    assert shop.json("rejected", "replay", "--all")["sent"] == 1
    shop.wait_through()
    assert failed(shop, "rejected") == []
    assert discs_of(shop, "dying") == 8
    assert shop.sql("select attempt from failures where event_id = 'died-1'") == [(1,)]
    shop.require_balance()


@pytest.mark.parametrize("state", ["sending", "open"], ids=["a replay of it died", "a replay of the archive died"])
def test_what_has_landed_is_not_given_up_as_well(shop: Installation, state: str) -> None:
    shop.track(order(f"landed-{state}", "landing", "many"))
    shop.track(order(f"other-{state}", "landing", "many"))
    rows = until(lambda: (found := failed(shop, "rejected")) and len(found) == 2 and found, 30, shop.tell)
    (mended,) = [row["place"] for row in rows if row["event_id"] == f"landed-{state}"]
    shop.command("rejected", "repair", mended, "--set", "/properties/order/discs=3", "--replay")
    shop.wait_through()
    shop.sql("update failures set state = %s where event_id = %s returning 1", state, f"landed-{state}")
    assert shop.command("rejected", "drop", "--all", "--yes").stdout == "dropped 1\n"
    assert failed(shop, "rejected") == []
    shop.require_balance()


def test_what_may_be_under_way_is_not_given_up(shop: Installation) -> None:
    shop.track(order("under-way", "leaving", "many"))
    until(lambda: failed(shop, "rejected"), 30, shop.tell)
    shop.sql("update failures set state = 'sending', attempt = 1 where event_id = 'under-way' returning 1")
    assert "left 1" in shop.command("rejected", "drop", "--all", "--yes").stdout
    assert shop.json("rejected", "replay", "--all")["sent"] == 1
    shop.wait_through()
    assert shop.command("rejected", "drop", "--all", "--yes").stdout == "dropped 1\n"
    shop.require_balance()


def test_while_events_flow_recover_finds_nothing_wrong(shop: Installation) -> None:
    flowing = threading.Event()

    def flow() -> None:
        for number in range(400):
            shop.write(json.dumps(order(f"flow-{number}", f"flow-{number % 7}")).encode(), f"{number % 7}".encode())
            flowing.set()

    sender = threading.Thread(target=flow)
    sender.start()
    flowing.wait(10)
    while sender.is_alive():
        assert shop.json("recover", "--dry-run") == []
    sender.join()
    shop.wait_through()


def test_a_forged_replay_header_is_an_ordinary_record(shop: Installation) -> None:
    body = json.dumps(order("forged", "forger")).encode()
    said = json.dumps({"origin": [0, 0, -1], "received_ms": 0, "kind": "archive"}).encode()
    shop.write(body, b"forger", headers=[("headwater-replay", b"0" * 32 + said)])
    until(lambda: shop.sql("select 1 from events where id = 'forged'"), 30, shop.tell)
    assert shop.one("select received_at > now() - interval '1 hour' from events where id = 'forged'")


@pytest.fixture
def metrics(shop: Installation) -> Iterator[str]:
    """Where the whole pipeline's /metrics are."""
    port = usable_port(0)
    log = shop.folder / "metrics.log"
    child = Child(["metrics"], shop.variables() | {"HEADWATER_METRICS_PORT": str(port)}, log)
    url = f"http://127.0.0.1:{port}/metrics"
    until(lambda: url in child.output(), 30, child.output)
    yield url
    assert child.terminate() == 0


def read(url: str) -> dict[tuple[str, ...], float]:
    """Name and labels' values to the value of every sample."""
    families = text_string_to_metric_families(httpx.get(url, trust_env=False, timeout=30).text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_a_lane_that_stops_at_too_many_dead_letters_alerts_and_goes_on_when_its_worker_is_started_again(
    shop: Installation, metrics: str
) -> None:
    numbers = read(metrics)
    assert numbers["headwater_lanes_stopped", "validate"] == 0
    assert numbers["headwater_events", "under_way", "shop"] == 0
    assert numbers["headwater_events", "recorded", "shop"] == shop.accounting()["shop"]["recorded"]
    shop.write_all([b"nonsense"] * 1500, b"flood")
    until(lambda: read(metrics)["headwater_lanes_stopped", "validate"] == 1, 30, shop.tell)
    shop.write(json.dumps(order("patient", "flood")).encode(), b"flood")
    until(lambda: read(metrics).get(("headwater_oldest_waiting_seconds", "validate"), 0) > 1, 30, shop.tell)
    assert read(metrics)["headwater_lag_records", "validate"] >= 1
    assert "STOPPED  validate tracks[" in (said := shop.command("status").stdout)
    assert "half of the last 1000 records became dead letters" in said
    assert not shop.sql("select 1 from events where id = 'patient'")
    shop.stop("validate")
    shop.start("validate")
    until(lambda: shop.sql("select 1 from events where id = 'patient'"), 30, shop.tell)
    until(lambda: read(metrics)["headwater_lanes_stopped", "validate"] == 0, 30, shop.tell)
    assert shop.command("dead-letters", "drop", "--all", "--yes").stdout == "dropped 1,500\n"
    shop.wait_through()
    shop.require_balance()
