"""Real purchases through every stage while stages are killed: what comes out is what the file says, to the cent."""

import json
import random
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import pytest

from tests.conftest import MakeInstallation
from tests.kit.installation import ALL, Installation
from tests.kit.processes import REPOSITORY
from tests.kit.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

KILLED = ("validate", "identify", "persist", "run-workflows", "segment")


class Row(NamedTuple):
    number: int
    customer: str
    date: str
    discs: int
    dollars: Decimal


def purchases() -> list[Row]:
    """About 600 rows: twenty customers with more than ten orders, and many with few."""
    by_customer = defaultdict(list)
    for number, line in enumerate((REPOSITORY / "tests/data/cdnow.txt").read_text().splitlines()[1:], 1):
        customer, date, discs, dollars = line.split()
        by_customer[customer].append(Row(number, customer, date, int(discs), Decimal(dollars)))
    chance = random.Random(3)
    often = sorted(customer for customer, rows in by_customer.items() if 10 < len(rows) < 16)
    seldom = sorted(customer for customer, rows in by_customer.items() if len(rows) <= 10)
    chosen = [*chance.sample(often, 20), *chance.sample(seldom, 130)]
    return [row for customer in chosen for row in by_customer[customer]]


def body(row: Row) -> dict[str, Any]:
    day = f"{row.date[:4]}-{row.date[4:6]}-{row.date[6:]}"
    properties = {"order": {"discs": row.discs, "total": float(row.dollars)}, "customer": {"id": row.customer}}
    return {
        "source": {"id": "shop"},
        "session": {"id": f"session-{row.number}"},
        "events": [
            {"id": f"view-{row.number}", "type": "Page View", "timestamp": f"{day}T12:00:00Z", "properties": {}},
            {
                "id": f"order-{row.number}",
                "type": "Order Completed",
                "timestamp": f"{day}T12:05:00Z",
                "properties": properties,
            },
        ],
    }


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return purchases()


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, rows: list[Row]) -> Installation:
    """All purchases sent in a random order, one in five twice, while five stages are killed and one is doubled."""
    installation = make_shared_installation((REPOSITORY / "deploy/examples/shop/shop.yaml").read_text())
    installation.start(*ALL)
    installation.start_door()
    sending = [*rows, *resent(rows)]
    random.Random(5).shuffle(sending)
    portions = [sending[start :: len(KILLED) + 2] for start in range(len(KILLED) + 2)]

    def send(portion: list[Row]) -> None:
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda row: installation.track(body(row)).status_code, portion))
        assert set(answers) == {200}

    send(portions.pop())
    until(lambda: installation.sql("select 1 from profile_versions"), 60, installation.tell)
    for stage in KILLED:
        _kill_under_load(installation, stage, partial(send, portions.pop()))
    installation.start("identify", name="identify-2")
    send(portions.pop())
    installation.wait_through(200)
    return installation


def _kill_under_load(installation: Installation, stage: str, send: Callable[[], None]) -> None:
    """Kill the stage once it has done some of what is being sent, or all of it is sent; start it again at once."""
    with ThreadPoolExecutor(1) as thread:
        before = position(installation, stage)
        sent = thread.submit(send)
        until(lambda: position(installation, stage) > before or sent.done(), 60, installation.tell)
        installation.kill(stage)
        installation.restart(stage)
        sent.result()


def position(installation: Installation, stage: str) -> int:
    return int(installation.one("select coalesce(sum(next_offset), 0) from stage_progress where stage = %s", stage))


def resent(rows: list[Row]) -> list[Row]:
    return random.Random(4).sample(rows, len(rows) // 5)


def customers(rows: list[Row]) -> dict[str, list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[row.customer].append(row)
    return found


def test_every_event_is_recorded_once_and_every_repeat_counted(shop: Installation, rows: list[Row]) -> None:
    assert {id for (id,) in shop.sql("select id from events")} == {
        f"{kind}-{row.number}" for row in rows for kind in ("view", "order")
    }
    twice = 2 * len(resent(rows))
    assert shop.require_balance() == {
        "shop": {
            "accepted": 2 * len(rows) + twice,
            "recorded": 2 * len(rows),
            "duplicates": twice,
            "rejected": 0,
            "dead_letters": 0,
        }
    }


def test_every_customer_is_one_profile_with_exact_totals(shop: Installation, rows: list[Row]) -> None:
    found = {
        customer: (orders, views, discs, revenue)
        for customer, orders, views, discs, revenue in shop.sql(
            "select i.value, (select count from profile_counters where profile_id = p.id and type = 'order-completed'),"
            " (select count from profile_counters where profile_id = p.id and type = 'page-view'),"
            " (t.totals->>'discs')::numeric, (t.totals->>'revenue')::numeric "
            "from identifiers i join profiles a on a.id = i.profile_id "
            "join profiles p on p.id = coalesce(a.merged_into, a.id) join profile_traits t on t.profile_id = p.id"
        )
    }
    assert found == {
        customer: (len(theirs), len(theirs), sum(row.discs for row in theirs), sum(row.dollars for row in theirs))
        for customer, theirs in customers(rows).items()
    }
    assert shop.one("select count(*) from profiles where merged_into is null") == len(customers(rows))
    assert shop.one("select sum((totals->>'revenue')::numeric) from profile_traits") == sum(row.dollars for row in rows)


def test_every_page_view_belongs_to_its_customer(shop: Installation, rows: list[Row]) -> None:
    owners = dict(
        shop.sql(
            "select e.id, t.traits->'customer_id'->>0 from events e join profiles a on a.id = e.profile_id "
            "left join profile_traits t on t.profile_id = coalesce(a.merged_into, a.id) where e.type = 'page-view'"
        )
    )
    assert owners == {f"view-{row.number}": row.customer for row in rows}


def test_the_segment_has_exactly_the_frequent_customers(shop: Installation, rows: list[Row]) -> None:
    members = shop.sql(
        "select t.traits->'customer_id'->>0 from memberships m join profile_traits t on t.profile_id = m.profile_id "
        "where m.segment = 'frequent-customer'"
    )
    frequent = {customer for customer, theirs in customers(rows).items() if len(theirs) > 10}
    assert len(frequent) == 20
    assert sorted(customer for (customer,) in members) == sorted(frequent)


def test_profile_changes_never_repeat_a_version_and_end_in_what_postgresql_has(shop: Installation) -> None:
    said: dict[tuple[str, int], bytes] = {}
    last: dict[str, dict[str, Any]] = {}
    for message in shop.records("profile-changes"):
        change = json.loads(message.value(), parse_float=Decimal)
        key = change["profile"], change["version"]
        assert said.setdefault(key, message.value()) == message.value()
        if change["version"] > last.get(change["profile"], {"version": 0})["version"]:
            last[change["profile"]] = change
    for profile, version, merged_into in shop.sql(
        "select v.profile_id::text, v.version, p.merged_into::text from profile_versions v "
        "join profiles p on p.id = v.profile_id"
    ):
        assert (last[profile]["version"], last[profile].get("merged_into")) == (version, merged_into)
    state = shop.sql(
        "select p.id::text, coalesce(t.totals->>'discs', '0')::numeric, coalesce(t.totals->>'revenue', '0')::numeric,"
        " (select jsonb_object_agg(type, count) from profile_counters where profile_id = p.id),"
        " (select coalesce(jsonb_agg(distinct segment), '[]') from memberships where profile_id = p.id) "
        "from profiles p left join profile_traits t on t.profile_id = p.id where p.merged_into is null"
    )
    assert {id for id, *_ in state} == {id for id, change in last.items() if not change.get("merged_into")}
    for id, discs, revenue, counters, segments in state:
        change = last[id]
        assert (change["totals"]["discs"], change["totals"]["revenue"]) == (discs, revenue)
        assert (change["counters"], change.get("segments", [])) == (counters, segments)


def test_the_destination_gets_each_change_under_one_id_and_ends_with_the_right_sums(
    shop: Installation, rows: list[Row]
) -> None:
    by_id: dict[str, bytes] = {}
    place: dict[str, tuple[str, int]] = {}
    last: dict[str, dict[str, Any]] = {}
    for message in shop.records("destination-crm"):
        delivery = json.loads(message.value(), parse_float=Decimal)
        assert by_id.setdefault(delivery["id"], message.value()) == message.value()
        if "event" not in delivery["body"]:
            place[delivery["id"]] = delivery["profile"], delivery["version"]
            known = last.setdefault(delivery["profile"], delivery)
            last[delivery["profile"]] = max(delivery, known, key=lambda one: one["version"])
    assert len(set(place.values())) == len(place)
    # Versions count within a profile. A customer may have been frequent on a profile that was merged away later.
    live = {id for (id,) in shop.sql("select id::text from profiles where merged_into is null")}
    bodies = [delivery["body"] for profile, delivery in last.items() if profile in live]
    assert sorted((body["customer"], body["orders"], body["revenue"]) for body in bodies) == sorted(
        (customer, len(theirs), sum(row.dollars for row in theirs))
        for customer, theirs in customers(rows).items()
        if len(theirs) > 10
    )
