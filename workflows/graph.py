"""A workflow's graph, checked and put in order when its definition is loaded. Errors point at the node."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas.definitions.automation import Workflow
from workflows.actions.action import Action
from workflows.conditions import Condition, share_needs


class GraphError(ValueError):
    """A workflow cannot be run as defined. The message names the node."""


class Step:
    """One node, ready to run: its action, its parsed settings, and the nodes behind each of its ports."""

    def __init__(self, name: str, action: Action[Any], config: BaseModel, ports: Mapping[str, tuple[str, ...]]) -> None:
        self.name, self.action, self.config, self.ports = name, action, config, ports


class Graph:
    """A workflow's steps in an order in which every node comes after those that lead to it."""

    def __init__(self, workflow: Workflow, actions: Mapping[str, Action[Any]]) -> None:
        """Raises GraphError where a node's action, settings, ports or successors are wrong, or there is a cycle."""
        self.id = workflow.id
        steps = {name: _step(name, workflow, actions) for name in workflow.nodes}
        followers = {name: {to for ports in step.ports.values() for to in ports} for name, step in steps.items()}
        led_to = {to for targets in followers.values() for to in targets}
        self.first = frozenset(steps.keys() - led_to)
        self.steps = tuple(steps[name] for name in _ordered(followers))
        share_needs(condition for step in self.steps for condition in _conditions_in(vars(step.config)))


def _conditions_in(value: Any) -> Iterator[Condition]:
    """The conditions in an action's settings, wherever they stand."""
    if isinstance(value, Condition):
        yield value
    elif isinstance(value, BaseModel):
        yield from _conditions_in(vars(value))
    elif isinstance(value, Mapping):
        yield from _conditions_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _conditions_in(item)


def _step(name: str, workflow: Workflow, actions: Mapping[str, Action[Any]]) -> Step:
    node = workflow.nodes[name]
    action = actions.get(node.action)
    if action is None:
        raise GraphError(f"node {name}: there is no action {node.action!r} (there are: {', '.join(sorted(actions))})")
    try:
        config = action.Config.model_validate(node.config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        raise GraphError(f"node {name}: {where}: {first['msg']}") from error
    ports = node.then if isinstance(node.then, dict) else {action.ports[0]: node.then}
    for port, targets in ports.items():
        if port not in (*action.ports, "error"):
            raise GraphError(f"node {name}: {node.action} has no port {port!r} (it has: {', '.join(action.ports)})")
        for target in targets:
            if target not in workflow.nodes:
                raise GraphError(f"node {name}: port {port} leads to {target!r}, which is no node")
    return Step(name, action, config, ports)


def _ordered(followers: Mapping[str, set[str]]) -> list[str]:
    waiting = {name: sum(name in targets for targets in followers.values()) for name in followers}
    order: list[str] = []
    ready = [name for name, count in waiting.items() if count == 0]
    while ready:
        name = ready.pop(0)
        order.append(name)
        for target in followers:
            if target in followers[name]:
                waiting[target] -= 1
                if waiting[target] == 0:
                    ready.append(target)
    if len(order) < len(followers):
        stuck = ", ".join(name for name in followers if name not in order)
        raise GraphError(f"node {stuck.split(', ')[0]}: the graph has a cycle through {stuck}")
    return order
