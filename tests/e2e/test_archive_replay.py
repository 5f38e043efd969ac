"""The archive rebuilds the same state in an empty installation, and changes nothing in a live one."""

import json
import random
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import Installation
from tests.kit.processes import REPOSITORY, headwater
from tests.kit.waiting import until

pytestmark = pytest.mark.slow

DEFINITIONS = (
    SHOP.replace("id: shop", "id: shop\nenrich: [client]")
    + """
---
kind: identification-point
id: customer
event_type: order-completed
identifiers:
  - {namespace: customer-id, path: customer.id}
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
  tell: {action: emit-event, config: {type: order-thanked}}
---
kind: segment
id: buyers
condition: profile.counters['order-completed'] > 1
---
kind: destination
id: crm
"""
)
STAGES = (
    "validate",
    "identify",
    "persist",
    "route",
    "run-workflows",
    "merge",
    "segment",
    "deliver",
    "record-failures",
    "archive",
)


def orders(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Orders of 20 customers over 40 sessions, some sent twice, some wrong, some without an id."""
    some = random.Random(seed)
    for number in range(count):
        session = some.randrange(40)
        discs = "wrong" if some.random() < 0.05 else some.randrange(1, 9)
        properties = {"order": {"discs": discs, "total": number}, "customer": {"id": f"customer-{session % 20}"}}
        event: dict[str, Any] = {"type": "order-completed", "properties": properties}
        if some.random() < 0.9:
            event["id"] = f"order-{number}"
        body = payload("shop", event, {"type": "page-view"}, session=f"session-{session}")
        yield from [body] * (2 if "id" in event and some.random() < 0.05 else 1)


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    """With 300 payloads through it, one rejected event repaired, and all of it in the archive."""
    installation = make_shared_installation(DEFINITIONS, forked=True)
    installation.start(*STAGES)
    for body in orders(300, 7):
        client = json.dumps({"ip": "203.0.113.7", "userAgent": f"of {body['session']['id']}"}).encode()
        key = body["session"]["id"].encode()
        installation.write(json.dumps(body).encode(), key, headers=[("headwater-client", client)])
    installation.write(b"unreadable")
    installation.wait_through()
    place = installation.json("rejected", "list")[0]["place"]
    repair = ("rejected", "repair", place, "--set", "/properties/order/discs=1", "--replay")
    assert installation.command(*repair).returncode == 0
    installation.wait_through()
    return installation


def test_what_is_known_of_a_request_is_with_its_events(shop: Installation) -> None:
    """Those that tests rebuild from the archive have it too, for state hashes to be equal."""
    query = "select bool_and(context->>'userAgent' = 'of ' || session_id) from events where type <> 'order-thanked'"
    assert shop.one(query) is True


def test_replaying_the_archive_into_the_live_installation_changes_nothing(shop: Installation) -> None:
    topics = ("events-valid", "profile-changes", "destination-crm")
    before = shop.json("state-hash"), shop.accounting(), shop.ends(topics)
    done = shop.json("replay", "--yes")
    assert done["sent"] > 300
    shop.wait_through()
    assert (shop.json("state-hash"), shop.accounting(), shop.ends(topics)) == before
    assert shop.json("replay", "--yes", "--since", "1h", "--until", "30m")["sent"] == 0
    shop.require_balance()


def test_an_empty_installation_becomes_what_the_first_one_is_even_if_the_replay_is_killed(
    shop: Installation, make_installation: MakeInstallation
) -> None:
    rebuilt = make_installation(DEFINITIONS, lineage=1, forked=True)
    rebuilt.start(*STAGES)
    archive = {"HEADWATER_ARCHIVE_URL": (shop.folder / "data" / "archive").as_uri()}
    command = subprocess.Popen(
        headwater("replay", "--yes"), cwd=REPOSITORY, env=rebuilt.variables() | archive, stderr=subprocess.DEVNULL
    )
    until(lambda: rebuilt.one("select count(*) from events") > 0, 60, rebuilt.tell)
    command.kill()
    command.wait()
    state = rebuilt.json("replay", "--yes", **archive)["state"]
    rebuilt.wait_through()
    assert state == rebuilt.json("state-hash") == shop.json("state-hash")
    here, there = shop.require_balance(), rebuilt.require_balance()
    for source, numbers in here.items():
        # Workflows emit again what the archive holds too: these are the same events, counted as duplicates.
        assert {**numbers, "accepted": 0, "duplicates": 0} == {**there[source], "accepted": 0, "duplicates": 0}
    assert sum(shop.ends(["destination-crm"]).values()) > 0
    assert set(rebuilt.ends(["destination-crm"]).values()) == {0}


def test_an_archive_of_another_life_of_tracks_is_refused(
    shop: Installation, make_installation: MakeInstallation
) -> None:
    other = make_installation(DEFINITIONS, forked=True)
    other.start("validate")
    refused = other.command("replay", "--yes", HEADWATER_ARCHIVE_URL=(shop.folder / "data" / "archive").as_uri())
    assert refused.returncode == 1
    assert "HEADWATER_LINEAGE=1" in refused.stderr
