"""Which workflows an event gets."""

from tests.unit.making import definitions, event
from workflows.rules import choose_workflows


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
    assert errors == [("event.properties.missing > 1", "KeyError")]
