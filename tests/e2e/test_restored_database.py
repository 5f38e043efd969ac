"""A database restored from a backup: lanes stop, say by how much, and one command brings it to where it was."""

import json
from typing import Any

import psycopg
import pytest

from tests.conftest import MakeInstallation
from tests.e2e.test_archive_replay import DEFINITIONS, STAGES, orders
from tests.kit.installation import Installation
from tests.kit.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS, forked=True)
    installation.start(*STAGES)
    return installation


def send(shop: Installation, seed: int) -> None:
    """Orders and views with ids of their own."""
    for number, body in enumerate(orders(150, seed)):
        for event in body["events"]:
            event["id"] = f"{seed} {event['type']} {number}"
        shop.write(json.dumps(body).encode(), body["session"]["id"].encode())


def wait_through(shop: Installation) -> None:
    """All but the archive, which gathers for ten seconds."""
    shop.wait_through(120, [stage for stage in STAGES if stage != "archive"])


def end_workers(shop: Installation) -> None:
    for stage in STAGES:
        shop.kill(stage)


def server(shop: Installation, *statements: str) -> None:
    with psycopg.connect(shop.services.postgres.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def latest(shop: Installation) -> dict[str, dict[str, Any]]:
    """What a reader of profile-changes that keeps the last record of each profile believes. Versions never fall, and a
    version that is repeated (the workers were killed) says the same."""
    found: dict[str, dict[str, Any]] = {}
    for change in shop.bodies("profile-changes"):
        known = found.get(change["profile"], {"version": 0})
        assert change["version"] > known["version"] or change == known, change["profile"]
        found[change["profile"]] = change
    return found


def test_a_restored_database_is_noticed_and_brought_forward_to_where_it_was(shop: Installation) -> None:
    name = shop.database_url.rpartition("/")[2]
    send(shop, 1)
    wait_through(shop)
    end_workers(shop)
    server(shop, f'create database "{name}_backup" template "{name}"')
    for stage in STAGES:
        shop.restart(stage)
    send(shop, 2)
    send(shop, 3)
    wait_through(shop)
    before, counted = shop.json("state-hash"), shop.require_balance()
    end_workers(shop)
    server(
        shop,
        f'drop database "{name}" with (force)',
        f'alter database "{name}_backup" rename to "{name}"',
    )
    for stage in STAGES:
        shop.restart(stage)
    until(lambda: "went back in time" in shop.children["persist"].output(), 60, shop.tell)
    found = shop.json("recover", "--dry-run")
    assert {one["what"] for one in found} == {"went back"}
    assert all(one["position"] < one["kafka"] for one in found)
    until(lambda: shop.sql("select 1 from lane_health where stopped like '%went back%'"), 30, shop.tell)
    assert shop.command("recover", within_s=120).returncode == 0
    wait_through(shop)
    assert shop.json("state-hash") == before
    now = shop.require_balance()
    assert {source: one["recorded"] for source, one in now.items()} == {
        source: one["recorded"] for source, one in counted.items()
    }
    changes = latest(shop)
    versions = shop.sql("select profile_id::text, version, merged_into::text from profile_versions")
    for profile, version, survivor in versions:
        assert (changes[profile]["version"], changes[profile].get("merged_into")) == (version, survivor)
    assert shop.json("recover") == []
