"""Which workflows an event gets."""

import pytest

from tests.unit.making import definitions, event
from workflows.rule_index import MAX_REMEMBERED
from workflows.rules import Explained, choose_workflows, explain


def rule(id: str, *workflows: str, **fields: object) -> dict[str, object]:
    return {"kind": "rule", "id": id, "event_type": "Page View", "workflows": list(workflows), **fields}


RULES = definitions(
    rule("1-always", "first"),
    rule("2-shop", "second", "first", source="shop"),
    rule("3-app", "third", source="app"),
    rule("4-big", "fourth", condition="event.properties.total > 10"),
    rule("5-tenth", "fifth", condition='profile.counters["page-view"] >= 10 && profile.id == "p"'),
    rule(
        "5b-event", "fifth-b", condition='event.session == "s9" && event.context.lang == "nb" && event.id == "event-1"'
    ),
    rule("6-off", "never", enabled=False),
    rule("7-broken", "never", condition="event.properties.missing > 1"),
    rule("8-other", "other", event_type="order"),
)


def chosen(**fields: object) -> list[str]:
    return choose_workflows(event(1, **fields), RULES)[0]


def test_rules_choose_by_type_source_and_condition_each_workflow_once_and_in_the_rules_order():
    assert chosen(properties={"total": 5}) == ["first", "second"]
    assert chosen(properties={"total": 11}) == ["first", "second", "fourth"]
    assert chosen(properties={"total": 11}, source="app") == ["first", "third", "fourth"]
    assert chosen(type="order") == ["other"]


def test_a_condition_sees_the_profile_as_of_the_event():
    assert "fifth" not in chosen(profile="p", counters={"page-view": 9})
    assert "fifth" in chosen(profile="p", counters={"page-view": 10})
    assert "fifth" not in chosen(profile="q", counters={"page-view": 10})


def test_a_condition_sees_the_events_session_and_context():
    assert "fifth-b" in chosen(session="s9", context={"lang": "nb"})
    assert "fifth-b" not in chosen(session="s8", context={"lang": "nb"})
    assert "fifth-b" not in chosen(context={"lang": "nb"})


def test_an_event_that_no_rule_wants_gets_no_workflow_and_no_error():
    assert choose_workflows(event(1, type="unheard-of"), RULES) == ([], [])


def test_a_condition_without_a_value_is_reported():
    _, errors = choose_workflows(event(1, properties={"total": 1}, counters={"page-view": 1}), RULES)
    assert errors == [("event.properties.missing > 1", "missing_field")]


MANY = definitions(
    {"kind": "consent", "id": "ads"},
    rule("all", "audit", event_type="*", priority=-5),
    rule("orders", "orders", event_type="Order *"),
    rule("vip", "vip", event_type="order-completed", priority=10, condition="event.properties.total > 100"),
    rule("ads", "ads", event_type="order-completed", consents=["ads"]),
    rule("ads-too", "ads-too", event_type="order-completed", condition="profile.consents.ads"),
    rule("app", "app", event_type="order-*", source="app"),
)


@pytest.mark.parametrize(
    ("fields", "workflows"),
    [
        ({"type": "page-view"}, ["audit"]),
        ({"type": "order-cancelled"}, ["orders", "audit"]),
        ({"type": "order"}, ["audit"]),
        ({"type": "order-completed", "properties": {"total": 101}}, ["vip", "orders", "audit"]),
        ({"type": "order-completed", "consents": {"ads": True}}, ["ads", "ads-too", "orders", "audit"]),
        ({"type": "order-completed", "consents": {"ads": False}}, ["orders", "audit"]),
        ({"type": "order-x", "source": "app"}, ["app", "orders", "audit"]),
    ],
)
def test_rules_are_about_one_type_or_all_that_begin_so_and_run_by_priority_then_by_id(
    fields: dict[str, object], workflows: list[str]
):
    assert choose_workflows(event(1, **fields), MANY)[0] == workflows


def test_whoever_makes_up_event_types_fills_no_memory():
    for number in range(MAX_REMEMBERED + 10):
        choose_workflows(event(1, type=f"made-up-{number}"), MANY)
    assert len(MANY.rules._remembered) <= MAX_REMEMBERED


def test_of_a_thousand_rules_an_event_asks_those_that_are_about_it():
    found = definitions(*(rule(f"r{n}", f"w{n}", event_type=f"type-{n % 100}") for n in range(1000)))
    assert len(found.rules.of("type-7", "shop")) == 10


def test_each_rule_says_why_it_wants_an_event_or_not_and_what_it_looked_at():
    order = event(
        1, type="order-completed", properties={"total": 7, "customer": {"name": "Ada"}}, consents={"ads": False}
    )
    said = {one.rule: one for one in explain(order, MANY)}
    assert list(said) == ["vip", "ads", "ads-too", "app", "orders", "all"]
    assert said["vip"] == Explained(
        "vip",
        False,
        "its condition does not hold",
        ["vip"],
        10,
        "event.properties.total > 100",
        {"event.properties.total": 7},
    )
    assert said["ads"].why == "the profile has not given the consent ads"
    assert said["ads-too"].values == {"profile.consents.ads": False}
    assert said["app"].why == "it is about the source app, the event is of shop"
    assert (said["orders"].matched, said["orders"].why) == (True, "it has no condition")
    assert [one.rule for one in said.values() if one.matched] == ["orders", "all"]
    view = {one.rule: one.why for one in explain(event(1, type="page-view"), MANY)}
    assert view["orders"] == "it is about order-*, the event is page-view"


def test_a_condition_without_a_value_says_so_and_what_is_missing_is_nothing():
    (one,) = explain(event(1, properties={}), definitions(rule("r", "w", condition="event.properties.total > 1")))
    assert (one.why, one.values) == ("its condition has no value: missing_field", {"event.properties.total": None})


@pytest.mark.parametrize("pattern", ["*-order", "a*b", "", "**", "or der*!"])
def test_a_star_stands_at_the_end_only(pattern: str):
    with pytest.raises(ValueError, match="event type"):
        definitions(rule("r", "w", event_type=pattern))
