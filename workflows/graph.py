"""A workflow's graph, checked and put in order when its definition is loaded. Errors point at the node."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from schemas.definitions.automation import Workflow
from workflows.actions.action import ERROR, Action
from workflows.actions.waits import WaitForEventConfig
from workflows.conditions import Condition, share_needs


class GraphError(ValueError):
    """A workflow cannot be run as defined. The message names the node."""


class Step:
    """One node, ready to run: its action, its parsed settings, and the nodes behind each of its ports."""

    def __init__(
        self, name: str, action: Action[Any], config: BaseModel, ports: Mapping[str, tuple[str, ...]], on_error: str
    ) -> None:
        self.name, self.action, self.config, self.ports = name, action, config, ports
        self.stops_on_error = on_error == "stop"
        #: A join that does not wait for all that may lead to it.
        self.takes_first = bool(getattr(config, "first", False)) and action.joins
        #: Nodes that lead here, each with the ports by which it does.
        self.led_by: list[tuple[str, frozenset[str]]] = []
        #: All nodes that a way leads here from, as far as it must wait for them.
        self.before: frozenset[str] = frozenset()

    def leads_to(self) -> set[str]:
        """The nodes that follow on any port."""
        return {target for targets in self.ports.values() for target in targets}


class Graph:
    """A workflow's steps in an order in which every node comes after those that lead to it."""

    def __init__(self, workflow: Workflow, actions: Mapping[str, Action[Any]]) -> None:
        """Raises GraphError where a node's action, settings, ports or successors are wrong, or there is a cycle."""
        self.id, self.definition = workflow.id, workflow
        steps = {name: _step(name, workflow, actions) for name in workflow.nodes}
        followers = {name: step.leads_to() for name, step in steps.items()}
        led_to = {to for targets in followers.values() for to in targets}
        self.first = frozenset(steps.keys() - led_to)
        self.steps = tuple(steps[name] for name in _ordered(followers))
        self.by_name = steps
        for step in self.steps:
            _lead_on(step, steps)
        share_needs(condition for step in self.steps for condition in conditions_in(vars(step.config)))

    @cached_property
    def version(self) -> str:
        """The same for the same definition: what a run that waits goes on with."""
        body = self.definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return blake2b(msgspec.json.encode(body, order="deterministic"), digest_size=16).hexdigest()

    @cached_property
    def awaits(self) -> frozenset[str]:
        """The event types that its runs may wait for."""
        return frozenset(
            type for step in self.steps if isinstance(step.config, WaitForEventConfig) for type in step.config.types
        )


def _lead_on(step: Step, steps: Mapping[str, Step]) -> None:
    for target in step.leads_to():
        ports = frozenset(port for port, targets in step.ports.items() if target in targets)
        steps[target].led_by.append((step.name, ports))
        # Whatever comes first to such a join is all that those behind it wait for.
        steps[target].before |= {step.name} | (frozenset() if step.takes_first else step.before)


def conditions_in(value: Any) -> Iterator[Condition]:
    """The conditions in an action's settings, wherever they stand."""
    if isinstance(value, Condition):
        yield value
    elif isinstance(value, BaseModel):
        yield from conditions_in(vars(value))
    elif isinstance(value, Mapping):
        yield from conditions_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from conditions_in(item)


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
    known = action.ports_of(config)
    ports = node.then if isinstance(node.then, dict) else {known[0]: node.then}
    for port, targets in ports.items():
        if port not in (*known, ERROR):
            raise GraphError(f"node {name}: {node.action} has no port {port!r} (it has: {', '.join((*known, ERROR))})")
        for target in targets:
            if target not in workflow.nodes:
                raise GraphError(f"node {name}: port {port} leads to {target!r}, which is no node")
    return Step(name, action, config, ports, node.on_error)


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
