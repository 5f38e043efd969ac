"""A workflow is checked when it is loaded, and what is wrong is said of the node that it is wrong with."""

from typing import Any

import pytest

from schemas.definitions.automation import Workflow
from workflows.actions.builtin import load_actions
from workflows.graph import Graph, GraphError

ACTIONS = load_actions()


def graph(**nodes: Any) -> Graph:
    return Graph(Workflow(id="w", nodes=nodes), ACTIONS)


START = {"action": "start"}


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({"bad": {"action": "strat"}}, ["node bad", "'strat'", "start"]),
        ({"ok": START, "bad": {"action": "log"}}, ["node bad", "message"]),
        ({"bad": {"action": "log", "config": {"message": "x", "colour": "red"}}}, ["node bad", "colour"]),
        ({"bad": {"action": "condition", "config": {"if": "1 +"}}}, ["node bad", "if", "CEL"]),
        ({"bad": {"action": "condition", "config": {"if": 1}}}, ["node bad", "if", "string"]),
        (
            {"bad": {"action": "update-profile", "config": {"set": {"a": "x.all(y, y.all(z, z))"}}}},
            ["node bad", "set.a", "multiply"],
        ),
        ({"bad": {"action": "start", "then": {"true": []}}}, ["node bad", "no port 'true'", "out"]),
        ({"bad": {"action": "start", "then": ["gone"]}}, ["node bad", "out", "'gone'"]),
        ({"bad": {"action": "start", "then": {"error": ["gone"]}}}, ["node bad", "error", "'gone'"]),
        ({"bad": {"action": "start", "then": ["bad"]}}, ["node bad", "cycle"]),
        ({"one": {**START, "then": ["two"]}, "two": {**START, "then": ["one"]}}, ["node one", "cycle", "one, two"]),
        (
            {
                "in": {**START, "then": ["one"]},
                "one": {**START, "then": {"error": ["two"]}},
                "two": {**START, "then": ["one"]},
            },
            ["node one", "cycle"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_names_the_node_and_what_is_wrong_with_it(nodes: dict[str, Any], said: list[str]):
    with pytest.raises(GraphError) as caught:
        graph(**nodes)
    for part in said:
        assert part in str(caught.value)


def test_it_begins_at_the_nodes_that_none_leads_to():
    found = graph(a={**START, "then": ["c"]}, b={**START, "then": {"error": ["c"]}}, c=START, d=START)
    assert found.first == {"a", "b", "d"}


def test_each_node_comes_after_all_that_lead_to_it():
    found = graph(
        end=START,
        right={**START, "then": ["end"]},
        left={**START, "then": {"out": [], "error": ["right", "end"]}},
        begin={**START, "then": ["left", "right"]},
    )
    assert [step.name for step in found.steps] == ["begin", "left", "right", "end"]


def test_every_action_has_an_error_port():
    for name, action in ACTIONS.items():
        assert "error" not in action.ports, name
    found = graph(a={**START, "then": {"error": ["b"]}}, b=START)
    assert found.steps[0].ports == {"error": ("b",)}
