"""Expressions that are answered without CEL: the same answers, and the same errors, as CEL gives."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.conditions import Condition, Context
from workflows.plain_answers import LEFT_TO_CEL
from workflows.shortcuts import shortcut_of

PLAIN = {
    "type": "order",
    "n": 3,
    "price": 9.5,
    "yes": True,
    "no": False,
    "none": None,
    "tags": ["a", "b"],
    "mixed": ["a", 1],
    "inner": {"type": "x", "n": -1, "page-view": 21},
    "infinite": math.inf,
    "huge": 2**70,
    "time": datetime(2026, 1, 1, tzinfo=UTC),
}

paths = st.builds(
    lambda variable, parts: variable + "".join(parts),
    st.sampled_from(["event", "profile", "unknown"]),
    st.lists(
        st.sampled_from([f".{name}" for name in PLAIN] + ['["page-view"]', "['n']", '["inner"]', ".missing"]),
        min_size=1,
        max_size=3,
    ),
)
literals = st.sampled_from(['"order"', "'x'", '""', "3", "-1", "0", "9.5", "3.0", "true", "false", "null", "-0.0"])
operands = st.one_of(paths, literals, paths.map("has({})".format), paths.map("string({})".format))
signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"])
expressions = st.recursive(
    operands,
    lambda inner: st.one_of(
        st.tuples(inner, signs, inner).map(" ".join),
        inner.map("!{}".format),
        inner.map("({})".format),
        st.tuples(inner, signs, inner).map("".join),
    ),
    max_leaves=6,
)


#: Parts for which no event need be parsed.
AT_HAND = {"event": {name: PLAIN[name] for name in ("type", "time", "none")}}


def answer(source: str, alone: bool) -> tuple[Any, list[tuple[str, str]]]:
    """The value and its type, and what went wrong; `alone`: by CEL alone, with nothing at hand."""
    condition = Condition(source)
    if alone:
        condition.shortcut = None
    context = Context({"event": lambda: PLAIN, "profile": lambda: PLAIN["inner"]}, {} if alone else AT_HAND)
    value = condition.value(context)
    return (type(value), value), context.errors


def parts_of(variables: Mapping[str, Any]) -> Callable[[str, str], Any]:
    return Context({name: partial(variables.get, name) for name in variables}).part


@given(expressions)
def test_an_answer_without_cel_is_cels_answer(source: str):
    try:
        Condition(source)
    except ValueError:
        return
    assert answer(source, alone=False) == answer(source, alone=True)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('event.type == "order"', True),
        ("event.n > 2 && event.price <= 9.5", True),
        ("has(profile.totals.revenue) && profile.totals.revenue > 100.0", False),
        ('profile.counters["page-view"] > 20', True),
        ('"buyer" in profile.segments', True),
        ('!("buyer" in profile.segments) || event.n != 3', False),
        ("string(event.time)", "2026-01-01T00:00:00+00:00"),
        ('(event.type)=="order"&&!has(event.inner.missing)&&has(event.inner)', True),
    ],
)
def test_what_rules_and_segments_usually_ask_needs_no_cel(source: str, value: Any):
    variables = {
        "event": PLAIN,
        "profile": {"totals": {}, "counters": {"page-view": 21}, "segments": ["buyer"]},
    }
    shortcut = shortcut_of(source)
    assert shortcut is not None
    assert shortcut(parts_of(variables)) == value
    assert type(shortcut(parts_of(variables))) is type(value)


@pytest.mark.parametrize("depth", [1, 2, 3, 40, 90, 990])
def test_however_many_signs_and_parentheses_there_are_the_answer_is_the_same(depth: int):
    for source in ("!" * depth + "event.yes", "(" * min(depth, 90) + "event.yes" + ")" * min(depth, 90)):
        assert answer(source, alone=False) == answer(source, alone=True)


@pytest.mark.parametrize(
    "source",
    [
        "event.n + 1 == 4",
        'event.type.startsWith("o")',
        "event.tags[0]",
        'r"a" == event.type',
        '"""a""" == event.type',
        r'"a\n" == event.type',
        "event.n == 0x3",
        "event.n == 3u",
        "event.n == 1e3",
        "event.n == 99999999999999999999",
        "event.n // a comment",
        "event.n ? 1 : 2",
        "event",
        "[event.n]",
        "event.n -1",
    ],
)
def test_what_is_not_plain_is_left_to_cel(source: str):
    assert shortcut_of(source) is None


@pytest.mark.parametrize(
    "source", ["event.missing == 1", 'event.n == "3"', "event.n == 3.0", "event.huge > 1", "1 in event.mixed"]
)
def test_what_has_no_plain_answer_is_left_to_cel(source: str):
    shortcut = shortcut_of(source)
    assert shortcut is not None
    assert shortcut(parts_of({"event": PLAIN})) is LEFT_TO_CEL
