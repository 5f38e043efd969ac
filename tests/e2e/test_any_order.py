"""People who come on several devices, in any order, twice, from many threads at once: always the same state."""

import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import ALL, Installation
from tests.kit.processes import REPOSITORY

pytestmark = pytest.mark.slow

DEFINITIONS = """
kind: source
id: shop
---
kind: identification-point
id: login
event_type: login
identifiers:
  - {namespace: customer-id, property: customer}
---
kind: mapping
id: orders
event_type: order
set: {last_total: event.properties.total}
set_if_empty: {first_total: event.properties.total}
append: {seen: event.properties.discs}
increment: {spent: event.properties.total, discs: event.properties.discs}
---
kind: segment
id: large
condition: profile.totals.spent > 100
"""
DEVICES = 3
#: The archive gathers for ten seconds: nothing here looks at it.
STAGES = tuple(stage for stage in ALL if stage != "archive")
DOUBLED = ("identify", "persist", "merge")


def purchases() -> dict[str, list[dict[str, Any]]]:
    """Of 30 customers who bought more than once: their payloads in order. Each device is anonymous until it logs in,
    when all is bought."""
    rows = defaultdict(list)
    for number, line in enumerate((REPOSITORY / "tests/data/cdnow.txt").read_text().splitlines()[1:], 1):
        customer, *row = line.split()
        rows[customer].append((number, *row))
    often = sorted(customer for customer, bought in rows.items() if 4 <= len(bought) <= 9)
    found = {}
    for customer in random.Random(11).sample(often, 30):
        sent = []
        for place, (number, date, discs, dollars) in enumerate(rows[customer]):
            at = f"{date[:4]}-{date[4:6]}-{date[6:]}T12:{place:02}:00Z"
            properties = {"discs": int(discs), "total": float(dollars)}
            order = {"id": f"order-{number}", "type": "order", "timestamp": at, "properties": properties}
            sent.append(payload("shop", order, session=f"{customer}-{place % DEVICES}"))
        for device in range(DEVICES):
            event = {"id": f"login-{customer}-{device}", "type": "login", "properties": {"customer": customer}}
            event["timestamp"] = "1999-01-01T00:00:00Z"
            sent.append(payload("shop", event, session=f"{customer}-{device}"))
        found[customer] = sent
    return found


def send(shop: Installation, payloads: list[dict[str, Any]], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        assert set(pool.map(lambda body: shop.track(body).status_code, payloads)) == {200}


@pytest.fixture(scope="module")
def storm(make_shared_installation: MakeInstallation) -> Installation:
    """Everything shuffled, a quarter of it twice, from eight threads, over two workers of three stages."""
    installation = make_shared_installation(DEFINITIONS, partitions=4)
    installation.start(*STAGES)
    for stage in DOUBLED:
        installation.start(stage, name=f"{stage}-2")
    installation.start_door()
    sent = [body for bodies in purchases().values() for body in bodies]
    some = random.Random(12)
    sent += some.sample(sent, len(sent) // 4)
    some.shuffle(sent)
    send(installation, sent, 8)
    installation.wait_through(120, STAGES)
    return installation


def test_customers_who_came_on_several_devices_are_the_same_people_in_whatever_order_all_came(
    storm: Installation, make_installation: MakeInstallation
) -> None:
    calm = make_installation(DEFINITIONS)
    calm.start(*STAGES)
    calm.start_door()
    send(calm, [body for bodies in purchases().values() for body in bodies], 1)
    calm.wait_through(120, STAGES)
    assert calm.json("state-hash") == storm.json("state-hash")
    assert calm.one("select count(*) from profiles where merged_into is null") == 30


def test_what_everybody_bought_is_what_the_list_of_purchases_says(storm: Installation) -> None:
    stored = dict(
        storm.sql(
            "select i.value, t.totals->>'spent' from identifiers i join profiles p on p.id = i.profile_id "
            "join profile_traits t on t.profile_id = coalesce(p.merged_into, p.id)"
        )
    )
    orders = {
        customer: [body["events"][0]["properties"]["total"] for body in bodies[:-DEVICES]]
        for customer, bodies in purchases().items()
    }
    assert {customer: Decimal(spent) for customer, spent in stored.items()} == {
        customer: sum((Decimal(str(total)) for total in totals), Decimal(0)) for customer, totals in orders.items()
    }
    large = {customer for customer, totals in orders.items() if sum(map(Decimal, map(str, totals))) > 100}
    said = storm.sql(
        "select i.value from identifiers i join profiles p on p.id = i.profile_id "
        "join memberships m on m.profile_id = coalesce(p.merged_into, p.id) where m.segment = 'large'"
    )
    assert {customer for (customer,) in said} == large


def test_twenty_writers_of_one_profile_lose_nothing(storm: Installation) -> None:
    """Each from a device of its own that logs in at some time among its thirty orders; a hot profile in every batch."""

    def write(writer: int) -> None:
        for number in range(30):
            properties = {"discs": 1, "total": 0.1}
            events: list[dict[str, Any]] = [{"id": f"hot-{writer}-{number}", "type": "order", "properties": properties}]
            if number == writer:
                events.append({"id": f"hot-{writer}", "type": "login", "properties": {"customer": "hot"}})
            assert storm.track(payload("shop", *events, session=f"hot-{writer}")).status_code == 200

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(write, range(20)))
    storm.wait_through(120, STAGES)
    hot = storm.json("profile", "customer-id:hot")
    assert hot["counters"] == {"order": 600, "login": 20}
    assert {name: Decimal(str(total)) for name, total in hot["totals"].items()} == {"spent": 60, "discs": 600}
    assert hot["absorbed"] == 19
    storm.require_balance()
