"""Runs a workflow's graph over one event and one profile. Pure: state and event in, commands out."""

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.definitions.identity import Strategy
from schemas.events import Answer
from workflows.actions.action import ERROR, Outcome, Run
from workflows.changes import Change, carry_out
from workflows.commands import Command, Emit, Increment, Keep, SetTrait
from workflows.graph import Graph, Step
from workflows.profile import NO_STRATEGIES
from workflows.waiting import HttpCall, QueryCall, RunState

#: Events that one run may make.
MAX_EMITTED = 100
#: Bytes of what a run that waits has to remember.
MAX_STATE_BYTES = 256_000
_NO_ANSWERS: Mapping[str, Answer] = {}
#: Commands that do no more than change the profile.
_PROFILES_ONLY = frozenset((SetTrait, Increment))
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Ran(msgspec.Struct):
    """What a run did now: the commands in order, by node, and where it stands then: it waits for what is in
    `state.waiting`."""

    workflow: str
    commands: list[tuple[str, Command]]
    #: Fields of the profile that have other values now.
    changed: set[str]
    #: What was decided about the profile, as the change log keeps it.
    changes: list[Change]
    state: RunState
    #: Whether the profile's state is another now, its times if nothing else.
    touched: bool = False
    #: Whether any of the commands is about more than traits and totals: nearly all are about those.
    has_effects: bool = False

    @property
    def nodes(self) -> list[str]:
        """The nodes that it passed, from its beginning."""
        return self.state.nodes

    @property
    def errors(self) -> list[tuple[str, str]]:
        """What failed, from its beginning: node, class of the error."""
        return self.state.errors


def run_workflow(graph: Graph, run: Run, strategies: Mapping[str, Strategy] = NO_STRATEGIES) -> Ran:
    """The run from its beginning; `run.now` is when its event was received."""
    return advance(graph, RunState(reached=set(graph.first), data=run.data), run, strategies=strategies)


def advance(
    graph: Graph,
    state: RunState,
    run: Run,
    answers: Mapping[str, Answer] = _NO_ANSWERS,
    strategies: Mapping[str, Strategy] = NO_STRATEGIES,
) -> Ran:
    """Run every node that can run now, each once, after all that lead to it: those that wait and have an answer, and
    what is behind them. `state` becomes what it is then; the run's data are its data.

    Branches are independent: where a node fails, the nodes behind its `error` port go on, and its own branch ends
    there (or the run does, where the node says so); the others are not touched, and wait for nobody. A node that
    several lead to comes when none of them can come any more. Changes of the profile are seen by the nodes that come
    after. The same state, event, profile, answers and time give the same.
    """
    ran = Ran(graph.id, [], set(), [], state)
    run.workflow = graph.id
    for step in graph.steps:
        if state.ended:
            break
        name = step.name
        answer = answers.get(name) if name in state.waiting else None
        if answer is not None:
            del state.waiting[name]
        elif name not in state.reached or name in state.done or (state.waiting and _must_wait(step, state)):
            continue
        if answer is None:
            state.nodes.append(name)
        if step.action.joins:
            run.led_by_all = all(state.done.get(before) in ports for before, ports in step.led_by)
        port = _run_step(step, run, ran, answer, strategies)
        if port is not None:
            state.done[name] = port
            state.reached.update(step.ports.get(port, ()))
    if state.ended:
        state.waiting.clear()
    return ran


def _must_wait(step: Step, state: RunState) -> bool:
    """Whether it waits itself, or a node that waits, or one that waits for it, may still lead here."""
    return step.name in state.waiting or not (step.takes_first or step.before.isdisjoint(state.waiting))


def _run_step(step: Step, run: Run, ran: Ran, answer: Answer | None, strategies: Mapping[str, Strategy]) -> str | None:
    """The port by which it leaves; None where it waits."""
    met = run.context.errors
    errors_before = len(met)
    run.node = step.name
    try:
        outcome = step.action.run(step.config, run) if answer is None else _resumed(step, run, answer)
    # Actions are also other people's plug-ins: whatever they raise is theirs, is recorded, and ends their branch.
    except Exception as error:
        ran.errors.extend((step.name, noted) for _, noted in met[errors_before:])
        return _failed(step, ran, type(error).__name__)
    if len(met) > errors_before:
        ran.errors.extend((step.name, error) for _, error in met[errors_before:])
    if outcome.commands:
        run.profile_changed()
    for command in outcome.commands:
        if type(command) not in _PROFILES_ONLY:
            if isinstance(command, Keep):
                run.keep(command.name, command.value)
                continue
            if isinstance(command, Emit):
                ran.state.emitted += 1
                if ran.state.emitted > MAX_EMITTED:
                    return _failed(step, ran, "too_many_events")
            ran.has_effects = True
        ran.commands.append((step.name, command))
        touched, changed, kept = carry_out(command, run.profile, run.at, run.event.id, strategies, run.place)
        if touched:
            ran.touched = True
        if kept is not None:
            ran.changes.append(kept)
        if changed is not None:
            ran.changed.add(changed)
    if outcome.error:
        return _failed(step, ran, outcome.error)
    if outcome.wait is not None:
        if run.event.quiet and isinstance(outcome.wait, HttpCall | QueryCall):
            return _failed(step, ran, "not_called")
        ran.state.waiting[step.name] = outcome.wait
        if len(_encode(ran.state)) <= MAX_STATE_BYTES:
            return None
        del ran.state.waiting[step.name]
        return _failed(step, ran, "too_much_to_remember")
    ran.state.ended |= outcome.ends
    return outcome.port


def _resumed(step: Step, run: Run, answer: Answer) -> Outcome:
    if answer.error:
        return Outcome(error=answer.error)
    if answer.value is not None:
        run.keep(step.name, answer.value)
    return step.action.resume(step.config, run, answer)


def _failed(step: Step, ran: Ran, error: str) -> str:
    ran.errors.append((step.name, error))
    ran.state.ended |= step.stops_on_error
    return ERROR


def describe(ran: Ran) -> dict[str, Any]:
    """What is kept of a run, for whoever asks what became of an event. No values."""
    state = ran.state
    told: dict[str, Any] = {
        "nodes": state.nodes,
        "errors": [{"node": node, "error": error} for node, error in state.errors],
    }
    return told | {"waiting": sorted(state.waiting)} if state.waiting else told
