"""The whole pipeline, stage by stage in memory, against sums done by hand: whatever the order, however often sent."""

import asyncio
import copy
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from schemas.profiles import Delivery
from schemas.topics import CATALOGUE, PROFILE_CHANGES, TRACKS, destination_topic
from tests.driver import Driver
from tests.unit.making import definitions

FREQUENT = 10
LARGE = 180.0
SHOP = (
    {"kind": "source", "id": "shop"},
    {
        "kind": "event-type",
        "id": "order-completed",
        "schema": {
            "required": ["discs", "total", "customer"],
            "properties": {"discs": {"type": "integer", "minimum": 1}, "total": {"type": "number", "minimum": 0}},
        },
    },
    {"kind": "namespace", "id": "customer-id", "unique": True},
    {
        "kind": "identification-point",
        "id": "order-names-customer",
        "event_type": "order-completed",
        "identifiers": [{"namespace": "customer-id", "property": "customer.id"}],
    },
    {"kind": "rule", "id": "orders", "event_type": "order-completed", "workflows": ["remember"]},
    {
        "kind": "workflow",
        "id": "remember",
        "nodes": {
            "start": {"action": "start", "then": ["copy", "add", "tell", "large"]},
            "copy": {"action": "copy-to-profile", "config": {"traits": {"customer_id": "customer.id"}}},
            "add": {
                "action": "update-profile",
                "config": {
                    "increment": {"discs": "event.properties.discs", "revenue": "event.properties.total"},
                    "set": {"last_order_at": "event.time"},
                    "append": {"prices": "event.properties.total"},
                },
            },
            "large": {
                "action": "condition",
                "config": {"if": f"event.properties.total >= {LARGE}"},
                "then": {"true": ["mark"]},
            },
            "mark": {"action": "segment", "config": {"segment": "big-spender"}},
            "tell": {
                "action": "send-to-destination",
                "config": {"destination": "mail", "properties": {"order": "event.id"}},
            },
        },
    },
    {"kind": "segment", "id": "big-spender"},
    {
        "kind": "segment",
        "id": "frequent",
        "condition": f'profile.counters["order-completed"] > {FREQUENT}',
    },
    {
        "kind": "destination",
        "id": "crm",
        "condition": '"frequent" in profile.segments',
        "mapping": {"customer": "profile.traits.customer_id", "orders": 'profile.counters["order-completed"]'},
    },
    {"kind": "destination", "id": "mail", "condition": "false"},
)


class Order(msgspec.Struct, frozen=True):
    """One row of the data."""

    number: int
    customer: str
    at: str
    discs: int
    total: str


def purchases(rng: random.Random, count: int = 300, customers: int = 40) -> list[Order]:
    """As CDNOW's: most customers buy a few times, some often."""
    weights = [1 / (rank + 1) for rank in range(customers)]
    buyers = [f"C{number:03}" for number in rng.choices(range(customers), weights, k=count)]
    return [
        Order(
            number,
            buyer,
            f"199{rng.randint(7, 8)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:00:00Z",
            rng.randint(1, 9),
            f"{rng.randint(0, 200)}.{rng.randint(0, 99):02}",
        )
        for number, buyer in enumerate(buyers)
    ]


def payload(order: Order, *events: dict[str, Any]) -> dict[str, Any]:
    return {"source": {"id": "shop"}, "session": {"id": f"s{order.number}"}, "events": list(events)}


def page_view(order: Order) -> dict[str, Any]:
    return payload(order, {"id": f"v{order.number}", "type": "Page View", "timestamp": order.at})


def purchase(order: Order) -> dict[str, Any]:
    properties = {"discs": order.discs, "total": float(order.total), "customer": {"id": order.customer}}
    event = {"id": f"o{order.number}", "type": "Order Completed", "timestamp": order.at, "properties": properties}
    return payload(order, event)


def errors_of(driver: Driver) -> list[Any]:
    return [
        error
        for outcome in driver.memory.runs.values()
        for run in msgspec.json.decode(outcome).values()
        for error in run["errors"]
    ]


def by_customer(orders: list[Order]) -> dict[str, list[Order]]:
    found: dict[str, list[Order]] = {}
    for order in orders:
        found.setdefault(order.customer, []).append(order)
    return found


@pytest.fixture(scope="module", params=["in order", *range(4)], ids=str)
def bought(request: pytest.FixtureRequest) -> tuple[Driver, list[Order], int]:
    """A pipeline that has seen all purchases: in order once, else shuffled, some sent again, stages in any order."""
    orders = purchases(random.Random(7))
    sent = [make(order) for order in orders for make in (page_view, purchase)]
    driver = Driver(definitions(*SHOP))
    if request.param == "in order":
        for each in sent:
            driver.send(each)
        asyncio.run(driver.run())
        return driver, orders, 0
    rng = random.Random(request.param)
    repeats = rng.sample(sent, 90)
    everything = sent + repeats
    rng.shuffle(everything)
    for start in range(0, len(everything), 150):
        for each in everything[start : start + 150]:
            driver.send(each, key=each["session"]["id"])
        asyncio.run(driver.run(rng))
    return driver, orders, len(repeats)


def test_there_is_one_live_profile_a_customer(bought):
    driver, orders, _ = bought
    live = {id for id, row in driver.memory.profiles.items() if row.merged_into is None}
    owners = {driver.memory.live(profile) for (_, _), profile in driver.memory.identifiers.items()}
    assert live == owners
    assert len(live) == len(by_customer(orders))
    assert all(
        driver.memory.profiles[row.merged_into].merged_into is None
        for row in driver.memory.profiles.values()
        if row.merged_into
    )


def test_every_page_view_belongs_to_the_customer_of_its_session(bought):
    driver, orders, _ = bought
    for order in orders:
        owner = driver.memory.live(driver.memory.identifiers["customer-id", order.customer])
        for id in (f"v{order.number}", f"o{order.number}"):
            assert driver.memory.live(driver.memory.events["shop", id].profile) == owner


def test_every_customers_sums_are_exact(bought):
    driver, orders, _ = bought
    for customer, theirs in by_customer(orders).items():
        profile = driver.memory.live(driver.memory.identifiers["customer-id", customer])
        state = driver.memory.state(profile)
        assert state.totals == {
            "discs": sum(order.discs for order in theirs),
            "revenue": sum(Decimal(order.total) for order in theirs),
        }
        assert state.values() == {
            "customer_id": customer,
            "last_order_at": max(order.at for order in theirs),
            "prices": sorted({float(order.total) for order in theirs}, key=msgspec.json.encode),
        }
        counted = {type: count for (id, type), count in driver.memory.counters.items() if id == profile}
        assert counted == {"page-view": len(theirs), "order-completed": len(theirs)}
    assert sum(driver.memory.counters.values()) == 2 * len(orders)


def test_the_segment_holds_exactly_the_frequent_customers(bought):
    driver, orders, _ = bought
    expected = {customer for customer, theirs in by_customer(orders).items() if len(theirs) > FREQUENT}
    members = {profile for profile, found in driver.memory.memberships.items() if ("frequent", "rule") in found}
    assert 0 < len(expected) < len(by_customer(orders))
    assert members == {driver.memory.live(driver.memory.identifiers["customer-id", customer]) for customer in expected}


def test_a_segment_that_a_workflow_fills_holds_everyone_it_was_said_of(bought):
    driver, orders, _ = bought
    expected = {order.customer for order in orders if float(order.total) >= LARGE}
    members = {profile for profile, found in driver.memory.memberships.items() if ("big-spender", "workflow") in found}
    assert 0 < len(expected) < len(by_customer(orders))
    assert members == {driver.memory.live(driver.memory.identifiers["customer-id", customer]) for customer in expected}


def test_every_event_is_accounted_for_once(bought):
    driver, orders, repeats = bought
    assert driver.memory.counts["accepted", "shop"] == 2 * len(orders) + repeats
    assert driver.memory.counts["recorded", "shop"] == len(driver.memory.events) == 2 * len(orders)
    assert driver.memory.counts["duplicate", "shop"] == len(driver.memory.duplicates) == repeats
    assert not driver.memory.failures
    assert not driver.memory.conflicts
    assert len(driver.memory.runs) == len(orders)
    assert errors_of(driver) == []


def test_the_last_change_of_each_profile_says_what_is_stored_and_versions_only_grow(bought):
    driver, _, _ = bought
    last: dict[str, Any] = {}
    for change in driver.read(PROFILE_CHANGES):
        assert change.version == last[change.profile].version + 1 if change.profile in last else 1
        last[change.profile] = change
    assert last.keys() == driver.memory.profiles.keys()
    for id, row in driver.memory.profiles.items():
        if row.merged_into is not None:
            assert followed(id, last) == row.merged_into
        else:
            state = driver.memory.state(id)
            assert (last[id].traits, last[id].totals) == (state.values(), state.totals)
            assert last[id].segments == sorted(key for key, _ in driver.memory.memberships[id])
            assert last[id].counters == {type: n for (of, type), n in driver.memory.counters.items() if of == id}


def followed(id: str, last: dict[str, Any]) -> str:
    """The profile that a consumer ends at who follows what the changes say."""
    while last[id].merged_into is not None:
        id = last[id].merged_into
    return id


def test_entering_and_leaving_add_up_to_the_membership(bought):
    driver, _, _ = bought
    inside: dict[str, bool] = {}
    for change in driver.read(PROFILE_CHANGES):
        if change.merged_into is None:
            before = inside.get(change.profile, False)
            assert not (before and "frequent" in change.entered)
            assert before or "frequent" not in change.left
            now = (before or "frequent" in change.entered) and "frequent" not in change.left
            assert now == ("frequent" in change.segments)
            inside[change.profile] = now


def test_the_crm_hears_of_frequent_customers_and_their_numbers(bought):
    driver, orders, _ = bought
    last = {delivery.profile: delivery.body for delivery in driver.read(destination_topic("crm"))}
    expected = {
        driver.memory.live(driver.memory.identifiers["customer-id", customer]): {
            "customer": customer,
            "orders": len(theirs),
        }
        for customer, theirs in by_customer(orders).items()
        if len(theirs) > FREQUENT
    }
    assert {profile: last[profile] for profile in expected} == expected
    assert {driver.memory.live(profile) for profile in last} == expected.keys()


def test_every_order_is_sent_on_exactly_once(bought):
    driver, orders, _ = bought
    deliveries = driver.read(destination_topic("mail"))
    assert Counter(delivery.body["properties"]["order"] for delivery in deliveries) == Counter(
        f"o{order.number}" for order in orders
    )
    assert len({delivery.id for delivery in deliveries}) == len(orders)


@pytest.mark.parametrize("seed", range(3))
def test_repeats_of_what_stages_wrote_change_nothing_whenever_they_come(seed: int):
    """A worker that was frozen may write its last outputs again; an operator may have a topic read again."""
    rng = random.Random(seed)
    driver = Driver(definitions(*SHOP))
    sent = [make(order) for order in purchases(rng, 60, 8) for make in (page_view, purchase)]
    rng.shuffle(sent)
    for each in sent:
        driver.send(each)
    asyncio.run(driver.run(rng))
    before = stored(driver)
    said = driver.read(PROFILE_CHANGES)
    mails = mailed(driver)

    for topic in CATALOGUE:
        if topic not in (TRACKS, PROFILE_CHANGES):
            driver.repeat(topic, rng)
    asyncio.run(driver.run(rng))

    assert stored(driver) == before
    assert mailed(driver) == mails
    merged = {change.profile: change.merged_into for change in said}
    for change in driver.read(PROFILE_CHANGES)[len(said) :]:
        assert (change.entered, change.left) == ([], [])
        if change.merged_into is None:
            state = driver.memory.state(change.profile)
            assert (change.traits, change.totals) == (state.values(), state.totals)
        else:
            assert change.sends or change.merged_into != merged[change.profile]
            merged[change.profile] = change.merged_into


def mailed(driver: Driver) -> set[tuple[str, str]]:
    """What the destination is left with that takes each id once. No id has two bodies."""
    taken: dict[str, Delivery] = {}
    for delivery in driver.read(destination_topic("mail")):
        assert taken.setdefault(delivery.id, delivery) == delivery
    return {(delivery.id, delivery.body["properties"]["order"]) for delivery in taken.values()}


def stored(driver: Driver) -> dict[str, Any]:
    """Every table but the versions, which count what was said."""
    return {name: copy.deepcopy(table) for name, table in vars(driver.memory).items() if name != "versions"}


def test_every_payload_is_archived_byte_for_byte(bought):
    driver, _, _ = bought
    assert [(each.offset, each.body) for each in driver.memory.archived] == [
        (record.offset, record.value) for record in driver.logs["tracks"]
    ]
