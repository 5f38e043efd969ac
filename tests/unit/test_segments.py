"""Segment membership: who is in, for which of the two reasons, and what a change of one reason leaves alone."""

import itertools

import pytest

from workflows.conditions import Condition, Context
from workflows.segments import CompiledSegment, memberships, profile_variables

RULE, WORKFLOW = ("s", "rule"), ("s", "workflow")


def after(condition: str | None, before: set, known: bool = True) -> set:
    segments = [CompiledSegment("s", Condition(condition) if condition else None)] if known else []
    return set(memberships(segments, frozenset(before), Context({})))


@pytest.mark.parametrize("condition", ["true", "false", "profile.missing > 1", None])
def test_a_condition_decides_over_its_own_membership_alone(condition: str | None):
    for before in map(set, itertools.chain([[]], [[RULE]], [[WORKFLOW]], [[RULE, WORKFLOW]])):
        expected = before & {WORKFLOW}
        if condition == "true":
            expected.add(RULE)
        assert after(condition, before) == expected


def test_a_segment_that_is_not_defined_has_no_members():
    assert after(None, {RULE, WORKFLOW}, known=False) == set()


def test_segments_are_evaluated_each_by_its_own_condition():
    segments = [
        CompiledSegment("frequent", Condition('profile.counters["page-view"] > 10')),
        CompiledSegment("big", Condition("profile.totals.revenue >= 500.0")),
        CompiledSegment("northern", Condition('profile.traits.city in ["Oslo", "Bergen"]')),
    ]
    for views, revenue, city in itertools.product((10, 11), (499.99, 500), ("Oslo", "Rome")):
        variables = profile_variables("p", {"city": city}, {"revenue": revenue}, {"page-view": views})
        context = Context({"profile": lambda variables=variables: variables})
        found = memberships(segments, frozenset(), context)
        expected = {"frequent": views > 10, "big": revenue >= 500, "northern": city == "Oslo"}
        assert found == {(key, "rule") for key, member in expected.items() if member}


def test_a_condition_that_has_no_value_puts_nobody_in():
    segment = CompiledSegment("s", Condition('profile.counters["order"] > 10'))
    context = Context({"profile": lambda: profile_variables("p", {}, {}, {})})
    assert memberships([segment], frozenset({RULE}), context) == frozenset()
    assert len(context.errors) == 1
