"""Live metrics and their alerts, over kill -9 of whoever counts."""

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.waiting import until

pytestmark = pytest.mark.timeout(200)

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "record-failures")
DEFINITIONS = """
kind: source
id: shop
---
{kind: metric, id: orders, event_type: order, sum: total, by: country, people: true, window_s: 86400}
---
{kind: metric, id: pulse, event_type: order, window_s: 2}
---
{kind: alert, id: silence, metric: pulse, below: 1, source: shop}
---
{kind: rule, id: alerted, event_type: alert-*, workflows: [note]}
---
kind: workflow
id: note
nodes:
  note: {action: emit-event, config: {type: noted, properties: {alert: event.properties.alert, by: event.type}}}
"""


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS, session_timeout_s=2, forked=True)
    installation.start(*STAGES)
    return installation


def order(shop: Installation, number: int) -> None:
    properties = {"total": 0.1, "country": "NO" if number % 3 else "SE"}
    body = payload("shop", {"type": "order", "id": f"o-{number}", "properties": properties}, session=f"s{number % 7}")
    shop.write(json.dumps(body).encode(), key=b"s%d" % (number % 7))


def shown(shop: Installation) -> dict[tuple[str, str], dict[str, Any]]:
    """(metric, value) to its numbers, of all its windows together."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in shop.json("metrics", "--once", "--windows", "2"):
        sums = found.setdefault((one["metric"], one["value"]), {"events": 0, "sum": 0, "people": 0})
        for name in sums:
            sums[name] += one[name]
    return found


def test_each_event_counts_once_though_whoever_counts_is_killed_again_and_again(shop: Installation) -> None:
    for number in range(300):
        order(shop, number)
        order(shop, number)  # sent twice
        if number % 100 == 50:
            shop.kill("persist")
            shop.restart("persist")
    shop.wait_through(120)
    found = shown(shop)
    countries = {key[1]: numbers for key, numbers in found.items() if key[0] == "orders"}
    assert {country: one["events"] for country, one in countries.items()} == {"NO": 200, "SE": 100}
    assert {country: round(one["sum"], 6) for country, one in countries.items()} == {"NO": 20, "SE": 10}
    assert {one["people"] for one in countries.values()} <= {7, 14}  # midnight may be in between


def test_an_alert_is_raised_and_cleared_once_each_and_a_workflow_acts_on_it(shop: Installation) -> None:
    def noted() -> list[tuple[str, str]]:
        rows = shop.sql(
            "select properties->>'alert', properties->>'by' from events where type = 'noted' order by recorded_at"
        )
        return [(alert, by) for alert, by in rows]

    until(lambda: noted()[-1:] == [("silence", "alert-raised")], 60, shop.tell)
    before = len(noted())
    order(shop, 1000)
    until(lambda: ("silence", "alert-cleared") in noted()[before:], 60, shop.tell)
    ids = shop.sql("select count(*), count(distinct id) from events where type like 'alert-%%'")
    assert ids[0][0] == ids[0][1]
    said = [by for _, by in noted()]
    assert all(one != next_one for one, next_one in pairwise(said))
