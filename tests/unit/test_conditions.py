"""CEL conditions: what they need not have, what they may not do, and that they never raise."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.limits import MAX_CONDITION_CHARS
from workflows.conditions import Condition, ConditionError, Context

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def evaluate(source: str, **variables: Any) -> tuple[Any, list[str]]:
    """The value, and the classes of what went wrong."""
    context = Context({name: lambda value=value: value for name, value in variables.items()})
    value = Condition(source).value(context)
    assert all(noted == source for noted, _ in context.errors)
    return value, [error for _, error in context.errors]


def test_a_condition_holds_only_where_it_is_true():
    context = Context({"n": lambda: 3})
    assert Condition("n == 3").holds(context)
    for source in ("n == 4", "n", '"true"', "null", "[n]"):
        assert not Condition(source).holds(context)
    assert context.errors == []


@pytest.mark.parametrize(
    "source",
    [
        "event.missing == 1",
        "event.missing.deeper > 1",
        "unknown == 1",
        'event.n > "1"',
        'event.n + "1" == "x"',
        "event.list[7] == 1",
        "1 / 0 == 1",
        "9223372036854775807 + 1 > 0",
        'int("x") == 1',
        'timestamp("now") == event.time',
        'event.text.matches("(")',
        "event.n ? true : false",
        "event.text.no_such_function()",
    ],
)
def test_what_has_no_value_is_false_and_noted(source: str):
    context = Context({"event": lambda: {"n": 1, "text": "a", "list": [1], "time": NOW}})
    assert Condition(source).holds(context) is False
    assert [noted for noted, _ in context.errors] == [source]
    assert context.errors[0][1].isidentifier()  # the class of the error: its text could quote the event


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("has(event.missing) && event.missing > 1", False),
        ("event.missing > 1 && false", False),
        ("false && event.missing > 1", False),
        ("event.missing > 1 || true", True),
        ("true || event.missing > 1", True),
        ("has(event.n)", True),
        ("has(event.missing)", False),
        ('"n" in event', True),
    ],
)
def test_and_and_or_do_not_mind_a_missing_side_that_does_not_matter(source: str, value: bool):
    assert evaluate(source, event={"n": 1}) == (value, [])


@pytest.mark.parametrize("source", ["true && event.missing", "false || event.missing", "event.missing || false"])
def test_and_and_or_have_no_value_where_the_missing_side_matters(source: str):
    value, errors = evaluate(source, event={})
    assert value is None
    assert len(errors) == 1


def test_whole_and_broken_numbers_compare():
    assert evaluate("n > 1 && f > 1 && n < f && n == 2.0", n=2, f=2.5) == (True, [])


def test_a_pattern_that_would_take_others_ages_is_answered_at_once():
    assert evaluate('text.matches("^(a+)+$")', text="a" * 50_000 + "b") == (False, [])


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("5 / 2", 2),
        ("5.0 / 2.0", 2.5),
        ("time", "2026-01-01T00:00:00Z"),
        ("{1: time}", {"1": "2026-01-01T00:00:00Z"}),
        ('[b"abc"]', ["YWJj"]),
        ('{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
    ],
)
def test_a_value_is_what_json_would_hold_of_it(source: str, value: Any):
    assert evaluate(source, time=NOW) == (value, [])


@pytest.mark.parametrize("source", ["0.0 / 0.0", "1.0 / 0.0", "-1.0 / 0.0", 'double("nan")', "optional.of(1)"])
def test_what_json_cannot_hold_is_no_value(source: str):
    value, errors = evaluate(source)
    assert value is None
    assert len(errors) == 1


@pytest.mark.parametrize("source", ["", " ", "1 +", "a b", "event.", "import os", "(" * 500 + ")" * 500, "[" * 1999])
def test_what_does_not_parse_is_refused(source: str):
    with pytest.raises(ConditionError):
        Condition(source)


def test_a_condition_may_be_as_long_as_the_limit():
    longest = "true" + " " * (MAX_CONDITION_CHARS - 4)
    assert Condition(longest).holds(Context({}))
    with pytest.raises(ConditionError, match=str(MAX_CONDITION_CHARS)):
        Condition(longest + " ")


@pytest.mark.parametrize("macro", ["all", "exists", "exists_one", "existsOne", "filter"])
def test_one_comprehension_is_allowed_and_works(macro: str):
    value, errors = evaluate(f"items.{macro}(item, item == 1)", items=[1])
    assert value in (True, [1])
    assert errors == []


@pytest.mark.parametrize(
    "source",
    [
        "a.all(x, a.all(y, true))",
        "a.exists(x, true) && a.exists(x, true)",
        "a . map ( x, a . filter ( y, true ) )",
        "a.existsOne(x, a.existsOne(y, true))",
        "a.all // a comment\n(x, a. // another\n all (y, true))",
        "a.map(x, a.map(y, a.map(z, z)))",
    ],
)
def test_comprehensions_that_could_multiply_are_refused(source: str):
    with pytest.raises(ConditionError, match="multiply"):
        Condition(source)


def test_variables_are_made_once_and_only_when_asked_for():
    built = []

    def build() -> int:
        built.append(1)
        return 1

    context = Context({"n": build})
    assert built == []
    assert Condition("n == 1").holds(context)
    assert Condition("n < 2").holds(context)
    assert built == [1]


def test_parts_that_are_at_hand_need_no_variable_made():
    made: list[str] = []

    def event() -> dict[str, Any]:
        made.append("event")
        return {"type": "order", "properties": {"price": 3}}

    context = Context({"event": event}, {"event": {"type": "order"}})
    assert Condition('event.type == "order"').holds(context)
    assert Condition("string(event.type)").value(context) == "order"
    assert made == []
    assert Condition("event.properties.price == 3").holds(context)
    assert Condition('event.type.startsWith("ord")').holds(context)
    assert made == ["event"]


@pytest.mark.parametrize("text", ["${jndi:ldap://x}", "{{7*7}}", "' or 1=1 --", "__class__", "%s%s%n", "1 + 1"])
def test_text_of_an_event_is_never_evaluated(text: str):
    assert evaluate("text", text=text) == (text, [])
    assert evaluate("text == other", text=text, other=text) == (True, [])
