"""Running a graph: which nodes, in which order, what they see of each other, and what one failure does to the rest."""

import gc
import random
import weakref
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definitions.automation import Workflow
from tests.unit.making import event
from workflows.actions.action import Action, Config, Outcome, Run
from workflows.actions.builtin import load_actions
from workflows.commands import Emit, Increment, Log, SetTrait
from workflows.engine import MAX_EMITTED, Ran, describe, run_workflow
from workflows.graph import Graph
from workflows.profile import ProfileState, Trait


class GoConfig(Config):
    """`to`: the port to leave by; `fail` raises."""

    to: Literal["left", "right", "fail"]


class Go(Action[GoConfig]):
    """Leaves as it is told."""

    name = "go"
    Config = GoConfig
    ports = ("left", "right")

    def run(self, config: GoConfig, run: Run) -> Outcome:
        if config.to == "fail":
            raise LookupError("with secret@values.example in its text")
        return Outcome(config.to, [Log(config.to)])


class TooMuch(Action[Config]):
    """Changes the profile, then makes more events than a run may."""

    name = "too-much"

    def run(self, config: Config, run: Run) -> Outcome:
        return Outcome(commands=[SetTrait("x", "new"), *[Emit("more", {})] * (MAX_EMITTED + 1)])


ACTIONS = {**load_actions(), "go": Go(), "too-much": TooMuch()}


def run(nodes: dict[str, Any], traits: dict[str, Trait] | None = None, **fields: Any) -> tuple[Ran, ProfileState]:
    state = ProfileState(traits or {}, {})
    graph = Graph(Workflow(id="w", nodes=nodes), ACTIONS)
    return run_workflow(graph, Run(event(1, profile="p", **fields), state)), state


def set_trait(then: Any = (), **expressions: str) -> dict[str, Any]:
    return {"action": "update-profile", "config": {"set": expressions}, "then": then}


def go(to: str, then: Any = ()) -> dict[str, Any]:
    return {"action": "go", "config": {"to": to}, "then": then}


def test_a_node_that_several_lead_to_runs_once():
    ran, _ = run({"a": go("left", ["b", "c"]), "b": go("left", ["d"]), "c": go("left", ["d"]), "d": go("left")})
    assert ran.nodes == ["a", "b", "c", "d"]
    assert len(ran.commands) == 4


def test_only_the_port_that_a_node_leaves_by_is_followed():
    ports = {"left": ["l"], "right": ["r"], "error": ["e"]}
    ends = {"l": go("left"), "r": go("left"), "e": go("left")}
    assert run({"a": go("left", ports), **ends})[0].nodes == ["a", "l"]
    assert run({"a": go("right", ports), **ends})[0].nodes == ["a", "r"]
    assert run({"a": go("fail", ports), **ends})[0].nodes == ["a", "e"]


def test_a_branch_that_fails_does_not_touch_its_siblings():
    ran, state = run(
        {"a": go("left", ["bad", "good"]), "bad": go("fail", ["after"]), "after": go("left"), "good": set_trait(x="1")}
    )
    assert sorted(ran.nodes) == ["a", "bad", "good"]
    assert state.values() == {"x": 1}
    assert ran.errors == [("bad", "LookupError")]


def test_what_is_kept_of_a_run_has_no_values_in_it():
    ran, _ = run(
        {"a": go("fail"), "b": set_trait(x="event.properties.missing", y="event.properties.name")},
        properties={"name": "secret"},
    )
    assert describe(ran) == {
        "nodes": ["a", "b"],
        "errors": [{"node": "a", "error": "LookupError"}, {"node": "b", "error": "missing_field"}],
    }


def test_nodes_see_what_nodes_before_them_did_to_the_profile():
    ran, state = run(
        {
            "one": set_trait(["two"], steps="1"),
            "two": set_trait(["three"], steps="profile.traits.steps + 1"),
            "three": {
                "action": "condition",
                "config": {"if": "profile.traits.steps == 2 && profile.totals.sum == 2.5"},
                "then": {"true": ["yes"], "false": ["no"]},
            },
            "sum": {"action": "update-profile", "config": {"increment": {"sum": "2.5"}}, "then": ["one"]},
            "yes": set_trait(seen="true"),
            "no": set_trait(seen="false"),
        }
    )
    assert state.values() == {"steps": 2, "seen": True}
    assert state.totals == {"sum": Decimal("2.5")}
    assert ran.changed == {"traits.steps", "traits.seen", "totals.sum"}
    assert ran.errors == []


def test_what_a_node_did_before_it_failed_is_seen_behind_its_error_port():
    seen = {"action": "condition", "config": {"if": 'profile.traits.x == "new"'}, "then": {"true": ["yes"]}}
    ran, _ = run(
        {
            "before": {**seen, "then": {"false": ["much"]}},
            "much": {"action": "too-much", "then": {"error": ["seen"]}},
            "seen": seen,
            "yes": go("left"),
        },
        {"x": Trait("old", 0, "e0")},
    )
    assert ran.errors == [("much", "too_many_events")]
    assert ran.nodes == ["before", "much", "seen", "yes"]


@pytest.mark.parametrize("expression", ["event.type", 'event.type + profile.traits["x"]'])
def test_what_a_run_leaves_behind_is_gone_without_a_garbage_collection(expression: str):
    nodes = {"a": set_trait(x="event.id", then=["b"]), "b": set_trait(y=expression)}
    graph = Graph(Workflow(id="w", nodes=nodes), ACTIONS)
    gc.disable()
    try:
        one = Run(event(1, profile="p"), ProfileState({}, {}))
        ran = run_workflow(graph, one)
        gone = weakref.ref(one.context)
        del one
        assert gone() is None
    finally:
        gc.enable()
    assert ran.errors == []
    assert len(ran.commands) == 2


def test_a_late_event_sees_the_newer_trait_that_it_may_not_change():
    later = {"city": Trait("Oslo", 2**60, "later")}
    ran, state = run(
        {
            "a": set_trait(["b"], city='"Bergen"'),
            "b": {"action": "emit-event", "config": {"type": "seen", "properties": {"city": "profile.traits.city"}}},
        },
        later,
    )
    assert state.values() == {"city": "Oslo"}
    assert ran.changed == set()
    assert ran.commands == [("a", SetTrait("city", "Bergen")), ("b", Emit("seen", {"city": "Oslo"}))]


def test_commands_come_in_the_order_of_the_nodes_with_the_node_that_gave_them():
    ran, _ = run(
        {
            "a": {"action": "update-profile", "config": {"set": {"x": "1"}, "increment": {"n": "1"}}, "then": ["b"]},
            "b": go("right"),
        }
    )
    assert ran.commands == [("a", SetTrait("x", 1)), ("a", Increment("n", Decimal(1))), ("b", Log("right"))]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """A random graph without cycles, its nodes written down in any order."""
    size = draw(st.integers(1, 9))
    names = [f"n{number}" for number in range(size)]
    nodes = {}
    for number, name in enumerate(names):
        later = names[number + 1 :]
        targets = st.lists(st.sampled_from(later), max_size=3, unique=True) if later else st.just([])
        then = {port: draw(targets) for port in ("left", "right", "error")}
        nodes[name] = go(draw(st.sampled_from(["left", "left", "right", "fail"])), then)
    return dict(draw(st.permutations(list(nodes.items()))))


@given(graphs())
def test_every_reached_node_runs_exactly_once_and_after_all_that_ran_and_lead_to_it(nodes: dict[str, Any]):
    ran, _ = run(nodes)

    followed = {name: {"fail": "error"}.get(node["config"]["to"], node["config"]["to"]) for name, node in nodes.items()}
    led_to = {target for node in nodes.values() for targets in node["then"].values() for target in targets}
    reached, waiting = set(), set(nodes) - led_to
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= set(nodes[name]["then"][followed[name]]) - reached

    assert sorted(ran.nodes) == sorted(reached)
    place = {name: number for number, name in enumerate(ran.nodes)}
    for name in reached:
        for targets in nodes[name]["then"].values():
            assert all(place[name] < place[target] for target in targets if target in reached)
    assert {name for name, _ in ran.errors} == {name for name in reached if followed[name] == "error"}
    assert [name for name, _ in ran.commands] == [name for name in ran.nodes if followed[name] != "error"]


@given(graphs(), st.randoms(use_true_random=False))
def test_the_same_graph_over_the_same_event_does_the_same(nodes: dict[str, Any], rng: random.Random):
    first, _ = run(nodes)
    assert run(nodes)[0] == first
    shuffled = list(nodes.items())
    rng.shuffle(shuffled)
    again, _ = run(dict(shuffled))
    assert sorted(again.nodes) == sorted(first.nodes)
    assert sorted(again.errors) == sorted(first.errors)
