"""A graph whose every step is looked at while it runs: what a trial of a workflow is told from."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import BaseModel

from schemas.events import Answer
from workflows.actions.action import Action, Outcome, Run
from workflows.graph import Graph


class Trace(msgspec.Struct):
    """One step: what it knew and what it decided. `port` is empty where it waits."""

    node: str
    action: str
    data: dict[str, Any]
    port: str
    commands: list[Any]
    waits_for: Any = None
    answer: Any = None
    error: str = ""
    milliseconds: float = 0.0


class _Traced(Action[BaseModel]):
    """Another action, whose decisions are noted."""

    def __init__(self, action: Action[Any], note: Callable[[Trace], None]) -> None:
        self._action, self._note = action, note
        # What the engine asks of it beside its decisions.
        vars(self).update(name=action.name, ports=action.ports, joins=action.joins)

    def run(self, config: BaseModel, run: Run) -> Outcome:
        return self._noted(run, None, lambda: self._action.run(config, run))

    def resume(self, config: BaseModel, run: Run, answer: Answer) -> Outcome:
        return self._noted(run, answer.value, lambda: self._action.resume(config, run, answer))

    def takes(self, config: BaseModel, run: Run, other: Run) -> bool:
        return self._action.takes(config, run, other)

    def _noted(self, run: Run, answer: Any, decide: Callable[[], Outcome]) -> Outcome:
        trace = Trace(run.node, self._action.name, dict(run.data), "", [], answer=answer)
        began = time.perf_counter()
        try:
            outcome = decide()
        # As in the engine: whatever it raises is the action's, and part of what is told.
        except Exception as error:
            trace.port, trace.error = "error", type(error).__name__
            raise
        finally:
            trace.milliseconds = (time.perf_counter() - began) * 1000
            self._note(trace)
        trace.commands, trace.waits_for = list(outcome.commands), outcome.wait
        trace.port, trace.error = "" if outcome.wait else "error" if outcome.error else outcome.port, outcome.error
        return outcome


def traced(graph: Graph, note: Callable[[Trace], None]) -> Graph:
    """The graph itself, from now on telling each step."""
    for step in graph.steps:
        step.action = _Traced(step.action, note)
    return graph
