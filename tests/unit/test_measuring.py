"""Live metrics: what a batch adds to which windows, and what alerts say of windows that are over."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definitions.measuring import Alert, Metric
from schemas.events import IdentifiedEvent
from tests.driver import Driver
from tests.unit.making import definitions
from tests.unit.making import event as made
from workflows.measuring import MAX_KEYS, OTHERS, CompiledMetric, judged, measured

MINUTE = timedelta(seconds=60)
BEGIN = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def event(number: int, type: str = "order", at: float = 0, profile: str = "p", **properties: Any) -> IdentifiedEvent:
    return msgspec.convert(
        made(number, type=type, profile=profile, received_at=BEGIN + timedelta(seconds=at), properties=properties),
        IdentifiedEvent,
        from_attributes=True,
    )


def metric(**fields: Any) -> CompiledMetric:
    return CompiledMetric(Metric(id="m", **{"event_type": "order", **fields}))


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab"), st.integers(-5, 5)), max_size=60))
def test_windows_hold_what_was_received_in_them_by_value(sent: list[tuple[int, str, int]]):
    events = [event(number, at=at, shop=shop, total=total) for number, (at, shop, total) in enumerate(sent)]
    found = measured(events, [metric(by="shop", sum="total")])
    counts, totals = Counter[Any](), Counter[Any]()
    for at, shop, total in sent:
        counts[at // 60, shop] += 1
        totals[at // 60, shop] += total
    assert {((begins - BEGIN) // MINUTE, key): one.events for (_, begins, key), one in found.items()} == counts
    assert all(one.total == totals[(begins - BEGIN) // MINUTE, key] for (_, begins, key), one in found.items())


def test_only_events_of_the_type_the_source_and_the_condition_count():
    events = [event(0, total=5), event(1, total=20), event(2, type="other", total=20)]
    (sums,) = measured(events, [metric(condition="event.properties.total > 10")]).values()
    assert sums.events == 1
    assert measured(events, [metric(source="nobody")]) == {}


def test_people_are_counted_once():
    events = [event(number, profile=profile) for number, profile in enumerate("abcab")]
    (sums,) = measured(events, [metric(people=True)]).values()
    assert (sums.events, sums.people) == (5, set("abc"))


def test_values_without_end_are_counted_together():
    events = [event(number, page=f"/{number}") for number in range(MAX_KEYS + 50)]
    found = {key: one.events for (_, _, key), one in measured(events, [metric(by="page")]).items()}
    assert len(found) == MAX_KEYS + 1
    assert found[OTHERS] == 50


@pytest.mark.parametrize("value", [None, "12", True, [1], {"a": 1}, 1e308], ids=repr)
def test_what_is_no_number_adds_nothing(value: Any):
    (sums,) = measured([event(0, total=value)], [metric(sum="total")]).values()
    assert (sums.events, sums.total) == (1, 0)


@pytest.mark.parametrize(
    "looks, now, before, holds",
    [
        ({"above": 10}, 11, [], True),
        ({"above": 10}, 10, [], False),
        ({"below": 1}, 0, [], True),
        ({"below": 1}, 1, [], False),
        ({"changed_percent": 50, "compared": 2}, 40, [20, 20], True),
        ({"changed_percent": 50, "compared": 2}, 30, [20, 20], False),
        ({"changed_percent": 50, "compared": 2}, 5, [20, 20], True),
        ({"changed_percent": 50, "compared": 2}, 1, [0, 0], True),
        ({"changed_percent": 50, "compared": 2}, 0, [0, 0], False),
    ],
)
def test_an_alert_holds_where_it_says_so(looks: dict[str, Any], now: float, before: list[float], holds: bool):
    values = {BEGIN - MINUTE * (number + 1): value for number, value in enumerate(before)} | {BEGIN: now}
    verdict = judged(Alert(id="a", metric="m", source="shop", **looks), BEGIN + MINUTE, MINUTE, values)
    assert (verdict.holds, verdict.value) == (holds, now)


async def test_persist_counts_an_event_once_however_often_it_comes():
    shop = {"kind": "source", "id": "shop"}
    driver = Driver(definitions(shop, {"kind": "metric", "id": "m", "event_type": "*", "people": True}))
    for _ in range(3):
        driver.send({"source": {"id": "shop"}, "session": {"id": "s"}, "events": [{"type": "order", "id": "o-1"}]})
    await driver.run()
    assert sum(driver.memory.measured.values()) == 1
    assert len(driver.memory.people_measured) == 1
