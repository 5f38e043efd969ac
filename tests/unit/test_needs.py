"""Conditions see what they would see with everything converted, whatever way they name it."""

from datetime import UTC, datetime
from typing import Any

import cel
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.conditions import Condition, Context, share_needs
from workflows.needs import needs_of

EVENT = {
    "type": "order",
    "time": datetime(2026, 3, 1, 10, 0, 0, 120_000, tzinfo=UTC),
    "properties": {
        "none": None,
        "yes": True,
        "n": 3,
        "total": 12.5,
        "items": [{"price": 1}, {"price": 2}],
        "type": "gift",
        "to": {"city": "Bern"},
    },
    "context": {"locale": "en", "event": {"type": "inner"}},
}
PROFILE = {"traits": {"city": "Bern", "a b": 1}, "counters": {"order-completed": 3}, "segments": ["buyers"]}


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("event.properties.order.total > 1.0", {"event": {"properties": {"order": {"total": None}}}}),
        ('event.type == "a" || event.properties.x == 1', {"event": {"type": None, "properties": {"x": None}}}),
        ("event.properties.a == event.properties", {"event": {"properties": None}}),
        ('profile.counters["order-completed"] > 10', {"profile": {"counters": {"order-completed": None}}}),
        ("profile['counters']['a'] > 10", {"profile": {"counters": {"a": None}}}),
        ("event.type.startsWith('o')", {"event": {"type": None}}),
        ("event.properties.items[0].price == 1", {"event": {"properties": {"items": None}}}),
        (
            "event.properties.items.all(x, x.price > 0)",
            {
                "event": {
                    "properties": {"items": None},
                }
            },
        ),
        ("event\n . // why\n type == 'a'", {"event": {"type": None}}),
        ("event.type // why\n .startsWith('o')", {"event": {"type": None}}),
        ("event[profile.traits.key] == 1", {"event": None, "profile": {"traits": {"key": None}}}),
        ("[event].exists(e, e.type == 'a')", {"event": None}),
        ('event["a\\"b"] == 1', {"event": None}),
        ("size(event.properties) > 2", {"event": {"properties": None}}),
        ('event.properties["it\'s"] == 1', {"event": {"properties": {"it's": None}}}),
        ('event // see e.g. docs\n .type == "t"', {"event": {"type": None}}),
        ('"event[\'" != event.type + "\']"', {"event": {"type": None}}),
        ('event.type == "a" // it\'s event.x\n', {"event": {"type": None}}),
        ("r'event.\\' != event.type", {"event": None}),
        ("events > 1", {"events": None}),
        ("1 > 2", {}),
    ],
)
def test_what_an_expression_looks_at(source: str, needs: dict[str, Any]):
    found = needs_of(source, cel.compile(source).variables())
    assert {name: need for name, need in found.items() if name in ("event", "events", "profile")} == needs


PATHS = st.sampled_from(
    [
        *("event.properties.none", "event.properties.yes", "event.properties.n"),
        *(
            "event.time",
            "event.type.deeper",
            "event",
            "event.type",
            "event.properties",
            "event.properties.total",
            'event["properties"].type',
        ),
        *("event.properties.items", "event.properties.items[1].price", "event.properties.missing.deeper"),
        *("event.properties.to.city", "event.context.event.type", "event.context", "profile.traits.city"),
        *('profile.traits["a b"]', 'profile.counters["order-completed"]', "profile.segments", "profile", "missing"),
    ]
)
WHOLE = PATHS.map(lambda path: f"({path})")
TESTS = st.one_of(
    st.tuples(PATHS, st.sampled_from(["==", "!="]), st.sampled_from(["'order'", '"Bern"', "'x'"])).map(" ".join),
    st.tuples(PATHS, st.sampled_from(["==", "!=", ">", "in"]), PATHS).map(" ".join),
    PATHS.map(lambda path: f"size({path}) > 1"),
    PATHS.map(lambda path: f"string( {path} )"),
    PATHS.map(lambda path: f"{path}.size() > 1"),
    PATHS.map(lambda path: f"{path}.startsWith('o')"),
    PATHS.map(lambda path: f"{path}.exists(x, x == 'type' || x == 'buyers')"),
    PATHS.map(lambda path: f"[{path}].exists(event, event.type == 'order')"),
    st.sampled_from(["has(event.type)", "has(event.none)", "has(event.properties.to.city)", "has(profile.traits.x)"]),
)
EXPRESSIONS = (
    st.lists(st.one_of(TESTS, WHOLE), min_size=1, max_size=3)
    .flatmap(lambda parts: st.sampled_from([" && ", " || "]).map(lambda sign: sign.join(parts)))
    .filter(lambda source: source.count(".exists(") <= 1)
)


def with_everything(source: str) -> Any:
    try:
        return cel.evaluate(source, {"event": EVENT, "profile": PROFILE})
    except Exception as error:
        return {KeyError: "missing_field", TypeError: "wrong_type"}.get(type(error), type(error).__name__)


def context() -> Context:
    return Context({"event": lambda: EVENT, "profile": lambda: PROFILE})


@given(st.lists(EXPRESSIONS, min_size=1, max_size=4), st.booleans())
def test_a_condition_has_the_value_that_it_has_with_everything_converted(sources: list[str], shared: bool):
    conditions, seen = [Condition(source) for source in sources], context()
    if shared:
        share_needs(conditions)
    for condition in conditions:
        value, errors = condition.value(seen), len(seen.errors)
        whole = msgspec.to_builtins(with_everything(condition.source))
        assert value == (None if errors else whole)
        assert [error for _, error in seen.errors] == ([whole] if errors else [])
        seen.errors.clear()


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_written_as_cel_writes_it(time: datetime):
    value = Condition("string(event.time)").value(Context({"event": lambda: {"time": time}}))
    assert value == cel.evaluate("string(event.time)", {"event": {"time": time}})


@pytest.mark.parametrize("source", ["1", '"text"', "1 + 1", "2.5", "null", "1 > 2", "size([1, 2])", '{"a": 1}', "[1]"])
def test_an_expression_that_looks_at_nothing_has_the_value_that_cel_gives_it(source: str):
    condition = Condition(source)
    assert condition.value(Context({})) == condition.value(Context({})) == cel.evaluate(source, {})


def test_a_variable_that_changed_is_seen_as_it_is_now_by_all():
    values = {"n": {"a": 1, "b": 1}}
    seen = Context({"n": lambda: values["n"]})
    assert Condition("n.a == 1").holds(seen)
    values["n"] = {"a": 2, "b": 2}
    assert Condition("n.a == 1").holds(seen)
    seen.changed("n")
    assert Condition("n.b == 2").holds(seen)
    assert Condition("n.a == 2").holds(seen)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("source", ["event.n", "event.n.deeper"])
def test_a_value_that_json_or_cel_cannot_hold_is_none_and_noted(source: str, value: float):
    seen = Context({"event": lambda: {"n": value}})
    assert Condition(source).value(seen) is None
    assert [noted for noted, _ in seen.errors] == [source]


def test_only_what_a_condition_names_is_made():
    made: list[str] = []
    seen = Context({name: lambda name=name: made.append(name) or 1 for name in ("a", "b")})
    assert Condition("a == 1").holds(seen)
    assert made == ["a"]
