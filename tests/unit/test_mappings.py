"""Event-to-profile mappings: what they change, for which events, and that the order of events does not matter."""

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.making import definitions, event
from tests.unit.test_pipeline_cases_in_memory import owner, pipeline, sent
from workflows.actions.action import Run
from workflows.commands import SetTrait, SetTraitIfEmpty
from workflows.definitions import DefinitionError
from workflows.engine import Ran, run_workflow
from workflows.profile import ProfileState, Trait, apply, merge_states


def mapped(
    state: ProfileState | None = None, fields: dict[str, Any] | None = None, **mapping: Any
) -> tuple[Any, list[Ran]]:
    known = definitions({"kind": "mapping", "id": "m", "event_type": "page-view", **mapping})
    sent = event(5, profile="p", **(fields or {}))
    state = state or ProfileState({}, {})
    ran = [run_workflow(one.graph, Run(sent, state), known.strategies) for one in known.mappings_of(sent)]
    return state, ran


ORDER = {"properties": {"sum": 9.5, "city": "Oslo", "tag": "new", "customer": {"name": "Ada"}}}


def test_a_mapping_sets_adds_and_keeps_lists():
    state, ran = mapped(
        ProfileState({"tags": Trait(["old", "new"], 1, "e"), "city": Trait("Rome", 1, "e")}, {"left": Decimal(100)}),
        ORDER,
        set={"city": "event.properties.city"},
        set_if_empty={"name": "event.properties.customer.name", "city": "'never'"},
        increment={"revenue": "event.properties.sum", "orders": "1"},
        decrement={"left": "event.properties.sum"},
        append={"tags": "'bought'"},
        remove={"tags": "event.properties.tag"},
    )
    assert state.values() == {"city": "Oslo", "name": "Ada", "tags": ["bought", "old"]}
    assert state.totals == {"revenue": Decimal("9.5"), "orders": 1, "left": Decimal("90.5")}
    assert [(one.workflow, one.errors) for one in ran] == [("mapping/m", [])]


def test_what_an_event_does_not_have_is_passed_over_and_what_is_wrong_is_noted():
    state, (ran,) = mapped(
        None,
        ORDER,
        set={
            "a": "event.properties.missing.deep",
            "b": "event.properties.missing + 1",
            "city": "event.properties.city",
        },
        increment={"sum": "event.properties.nothing"},
    )
    assert (state.values(), state.totals, ran.errors) == ({"city": "Oslo"}, {}, [])
    _, (ran,) = mapped(None, ORDER, set={"x": "event.properties.city + 1"})
    assert ran.errors == [("map", "wrong_type")]


@pytest.mark.parametrize(
    ("only", "changes"),
    [
        ({"condition": "event.properties.sum > 5.0"}, True),
        ({"condition": "event.properties.sum > 50.0"}, False),
        ({"condition": "event.properties.missing > 50.0"}, False),
        ({"source": "shop"}, True),
        ({"source": "app"}, False),
        ({"event_type": "another"}, False),
        ({"enabled": False}, False),
    ],
)
def test_a_mapping_is_for_its_type_source_and_condition(only: dict[str, Any], changes: bool):
    state, _ = mapped(None, ORDER, set={"city": "event.properties.city"}, **only)
    assert state.values() == ({"city": "Oslo"} if changes else {})


def test_a_mapping_that_cannot_work_is_refused_when_it_is_applied():
    with pytest.raises(DefinitionError, match=r"^mapping/m: .*set"):
        mapped(set={"a": "event.("})


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.booleans(), st.integers(0, 2)), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_what_is_set_if_empty_gives_way_to_what_is_set_and_the_earliest_stays_in_any_order(
    history: list[tuple[int, bool, int]], rng: random.Random
):
    events = [(f"e{n}", at, if_empty, n, profile) for n, (at, if_empty, profile) in enumerate(history)]
    plain = [one for one in events if not one[2]]
    wanted = max(plain, key=lambda one: (one[1], one[0])) if plain else min(events, key=lambda one: (one[1], -one[3]))
    for _ in range(3):
        rng.shuffle(events)
        states = [ProfileState({}, {}) for _ in range(3)]
        for id, at, if_empty, number, profile in events:
            command = SetTraitIfEmpty("t", number) if if_empty else SetTrait("t", number)
            apply(command, states[profile], at, id)
        trait = merge_states(states).traits["t"]
        assert trait.value == wanted[3]
        assert (trait.happened, trait.by) == (wanted[1], wanted[0])


async def test_mappings_run_before_workflows_once_an_event_and_are_in_its_outcome():
    driver = pipeline(
        {"kind": "mapping", "id": "orders", "event_type": "order", "increment": {"sum": "event.properties.sum"}},
        {"kind": "rule", "id": "r", "event_type": "order", "workflows": ["w"]},
        {
            "kind": "workflow",
            "id": "w",
            "nodes": {"n": {"action": "update-profile", "config": {"set": {"seen": "profile.totals.sum"}}}},
        },
    )
    for _ in range(2):
        driver.send(sent({"type": "order", "id": "e1", "properties": {"sum": 9.5}}))
    driver.send(sent({"type": "order", "id": "e2", "properties": {"sum": 0.5}}))
    await driver.run()
    assert driver.memory.state(owner(driver, "e1")).values() == {"seen": 10.0}
    (first, second) = driver.memory.runs.values()
    assert b"mapping/orders" in first
    assert b'"w"' in second


async def test_an_event_that_no_rule_wants_is_mapped_all_the_same():
    driver = pipeline({"kind": "mapping", "id": "m", "event_type": "v", "set": {"last": "event.id"}})
    driver.send(sent({"type": "v", "id": "e1"}))
    await driver.run()
    assert driver.memory.state(owner(driver, "e1")).values() == {"last": "e1"}
