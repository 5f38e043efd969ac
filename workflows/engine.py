"""Runs a workflow's graph over one event and one profile. Pure: state and event in, commands out."""

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.definitions.identity import Strategy
from workflows.actions.action import Run
from workflows.changes import Change, carry_out
from workflows.commands import Command
from workflows.graph import Graph, Step
from workflows.profile import NO_STRATEGIES


class Ran(msgspec.Struct):
    """What one run did: the nodes it passed, what failed (node, class of the error), and the commands in order."""

    workflow: str
    nodes: list[str]
    errors: list[tuple[str, str]]
    commands: list[tuple[str, Command]]
    changed: set[str]
    #: What was decided about the profile, as the change log keeps it.
    changes: list[Change]


def run_workflow(graph: Graph, run: Run, strategies: Mapping[str, Strategy] = NO_STRATEGIES) -> Ran:
    """Run every node that is reached, each once, after all that lead to it.

    Branches are independent: where a node fails, the nodes behind its `error` port go on, and its own branch ends
    there; the others are not touched. Changes of the profile are seen by the nodes that come after.
    """
    ran = Ran(graph.id, [], [], [], set(), [])
    reached = set(graph.first)
    for step in graph.steps:
        if step.name in reached:
            ran.nodes.append(step.name)
            reached.update(step.ports.get(_run_step(step, run, ran, strategies), ()))
    return ran


def _run_step(step: Step, run: Run, ran: Ran, strategies: Mapping[str, Strategy]) -> str:
    errors_before = len(run.context.errors)
    try:
        outcome = step.action.run(step.config, run)
    # Actions are also other people's plug-ins: whatever they raise is theirs, is recorded, and ends their branch.
    except Exception as error:
        ran.errors.append((step.name, type(error).__name__))
        return "error"
    ran.errors.extend((step.name, error) for _, error in run.context.errors[errors_before:])
    for command in outcome.commands:
        ran.commands.append((step.name, command))
        changed, kept = carry_out(command, run.profile, run.at, run.event.id, strategies)
        if kept is not None:
            ran.changes.append(kept)
        if changed is not None:
            ran.changed.add(changed)
            run.profile_changed()
    return outcome.port


def describe(ran: Ran) -> dict[str, Any]:
    """What is kept of a run, for whoever asks what became of an event. No values."""
    return {"nodes": ran.nodes, "errors": [{"node": node, "error": error} for node, error in ran.errors]}
