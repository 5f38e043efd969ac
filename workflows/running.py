"""What the workflow runs of a batch lead to: outcomes, changed profiles, jobs, events, runs that wait. Pure."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec

from schemas.events import Answer, EmittedEvent, Resumption, WorkflowRun
from schemas.limits import MAX_HOPS, MAX_RECORD_BYTES
from schemas.origin import Origin, derived_id
from schemas.profiles import MergeJob, SegmentationJob, Send
from workflows.actions.action import Run
from workflows.actions.waits import came
from workflows.changes import Change
from workflows.commands import Command, Emit, Increment, Log, MergeBy, SaidBy, SendTo, SetMembership, SetTrait
from workflows.definitions import Definitions
from workflows.effects import add_changed, effect_id, merge_job, payload
from workflows.engine import Ran, advance, describe, run_workflow
from workflows.graph import Graph
from workflows.identification import Identifiers
from workflows.profile import ProfileState
from workflows.waiting import Call, RunState, over, wants

log = logging.getLogger("headwater.workflows")

#: An event that a run emits comes after its cause, and after those that it has emitted before.
_NEXT = timedelta(microseconds=1)
#: What identifies a run: its event's origin, and the workflow.
RunKey = tuple[Origin, str]


class Done(msgspec.Struct):
    """What came of running an event's workflows: by workflow, and what was decided about the profile."""

    event: WorkflowRun
    outcome: dict[str, Any]
    changes: list[Change]
    #: Which of the batch's events it was.
    place: int


class Part(msgspec.Struct):
    """What a run decided after it had waited, and how it stands now, as its event's outcome says it."""

    origin: Origin
    workflow: str
    outcome: dict[str, Any]
    at: datetime
    changes: list[Change]


class Parked(msgspec.Struct):
    """A run that waits, or that goes on: its event, with the profile that it is of now. `graph` is None where the
    version that it began with cannot be run here any more."""

    event: WorkflowRun
    workflow: str
    graph: Graph | None
    state: RunState
    #: What it asked of the outside since it was read: by node, each with an id that stays the same.
    asked: dict[str, tuple[str, Call]] = {}

    @property
    def key(self) -> RunKey:
        return self.event.origin, self.workflow


class Running:
    """Runs workflows, event by event, over the profiles' states, and gathers what comes of it."""

    def __init__(
        self,
        definitions: Definitions,
        identifiers: Identifiers,
        states: dict[str, ProfileState],
        parked: Iterable[Parked] = (),
    ) -> None:
        """`parked`: the runs that any of the batch may go on with."""
        self._definitions, self._identifiers, self.states = definitions, identifiers, states
        #: By event, where runs wait: what comes in the same batch may still change them.
        self.outcomes: dict[Origin, Done] = {}
        self._added = 0
        self.parts: list[Part] = []
        self.jobs: dict[str, SegmentationJob] = {}
        self.merges: list[MergeJob] = []
        self.emitted: list[EmittedEvent] = []
        #: Profiles whose state the runs changed.
        self.touched: set[str] = set()
        #: What workflows said, last, of a profile's membership in a segment.
        self.memberships: dict[tuple[str, str, SaidBy], bool] = {}
        #: Runs that waited when the batch began, or wait now; those that wait for nothing any more are over.
        self.parked: dict[RunKey, Parked] = {one.key: one for one in parked}
        #: Those of them that stand otherwise now.
        self.moved: set[RunKey] = set()
        #: Profile to its runs.
        self._of: dict[str, set[RunKey]] = {}
        for one in self.parked.values():
            self._of.setdefault(one.event.profile or "", set()).add(one.key)

    def add(self, event: WorkflowRun, first_time: bool) -> Done | None:
        """An event of the batch; its workflows run where that has not been done before. What came of it, unless runs
        of it wait: the less a batch keeps of an event, the more of the processor's caches the next one finds warm."""
        job = self._job(event)
        if not first_time:
            return None
        for waiting in list(self._waiting_for(event)) if self._of else ():
            self._offer(waiting, event)
        state = self._state(event)
        done, waits = Done(event, {}, [], self._added), False
        self._added += 1
        for mapping in self._definitions.mappings_of(event) if event.profile else ():
            waits |= self._begin(mapping.graph, done, state, job)
        for workflow in event.workflows:
            graph = self._definitions.workflows.get(workflow)
            if graph is None:
                done.outcome[workflow] = {"nodes": [], "errors": [{"node": "", "error": "unknown_workflow"}]}
                continue
            waits |= self._begin(graph, done, state, job)
        if not waits:
            return done
        self.outcomes[event.origin] = done
        return None

    def resume(self, origin: Origin, told: Resumption) -> None:
        """A run of which time, or an answer, has come. Where it waits for none of it, it was told before; what it asked
        and still waits for is asked again, if nobody has it any more."""
        waiting = self.parked.get((origin, told.workflow))
        if waiting is None:
            return
        if waiting.graph is None:
            return self._give_up(waiting, told.at)
        self.moved.add(waiting.key)
        if answers := {node: one for node, one in told.answers.items() if node in waiting.state.waiting}:
            self._go_on(waiting, told.at, answers)
        # Each time in its turn, however late it is told.
        while (due := waiting.state.due_at) is not None and due <= told.at:
            self._go_on(waiting, due, over(waiting.state, due))
        waiting.asked = _asked(waiting)

    def _give_up(self, waiting: Parked, at: datetime) -> None:
        """Nobody can run it any more: its action's package is gone, or takes its settings no more."""
        waiting.state.errors.append(("", "unknown_version"))
        waiting.state.waiting.clear()
        self.moved.add(waiting.key)
        outcome = {"nodes": waiting.state.nodes, "errors": [{"node": "", "error": "unknown_version"}]}
        self.parts.append(Part(waiting.event.origin, waiting.workflow, outcome, at, []))

    def _waiting_for(self, event: WorkflowRun) -> Iterator[Parked]:
        for key in sorted(self._of.get(event.profile or "", ())) if event.profile else ():
            waiting = self.parked[key]
            if waiting.graph is not None and waiting.state.waiting:
                yield waiting

    def _offer(self, waiting: Parked, event: WorkflowRun) -> None:
        state = self._state(event)
        run = Run(waiting.event, state, waiting.state.data)
        other = Run(event, state, waiting.state.data)
        graph = cast(Graph, waiting.graph)
        wanting = [graph.by_name[node] for node in wants(waiting.state, event.type, event.received_at)]
        news = {step.name: came(other) for step in wanting if step.action.takes(step.config, run, other)}
        if news:
            self._go_on(waiting, event.received_at, news)

    def _go_on(self, waiting: Parked, at: datetime, news: Mapping[str, Answer]) -> None:
        event, graph = waiting.event, cast(Graph, waiting.graph)
        if self._is_withdrawn(waiting):
            waiting.state.ended, news = True, {}
            waiting.state.errors.append(("", "consent_withdrawn"))
        run = Run(event, self._state(event), waiting.state.data, at)
        ran = advance(graph, waiting.state, run, news, self._definitions.strategies)
        self._carry_out(event, run.changed_at, ran, self._job(event), frozenset(news))
        self._park(event, graph, ran)
        if (done := self.outcomes.get(event.origin)) is not None:
            done.outcome[graph.id] = describe(ran)
        self.parts.append(Part(event.origin, graph.id, describe(ran), run.changed_at, ran.changes))

    def _is_withdrawn(self, waiting: Parked) -> bool:
        """Whether every rule that chooses the workflow for its event wants a consent that is not given any more."""
        event = waiting.event
        rules = [
            rule for rule in self._definitions.rules.of(event.type, event.source) if waiting.workflow in rule.workflows
        ]
        return bool(rules) and all(
            any(event.consents.get(consent) is not True for consent in rule.consents) for rule in rules
        )

    def _begin(self, graph: Graph, done: Done, state: ProfileState, job: SegmentationJob) -> bool:
        """Whether it waits."""
        run = Run(done.event, state)
        ran = run_workflow(graph, run, self._definitions.strategies)
        self._carry_out(done.event, run.changed_at, ran, job)
        if ran.state.waiting:
            self._park(done.event, graph, ran)
        done.outcome[graph.id] = describe(ran)
        done.changes += ran.changes
        return bool(ran.state.waiting)

    def _park(self, event: WorkflowRun, graph: Graph, ran: Ran) -> None:
        parked = self.parked.setdefault((event.origin, graph.id), Parked(event, graph.id, graph, ran.state))
        parked.asked = _asked(parked)
        self.moved.add(parked.key)
        self._of.setdefault(event.profile or "", set()).add(parked.key)

    def _state(self, event: WorkflowRun) -> ProfileState:
        return self.states[event.profile] if event.profile else ProfileState({}, {})

    def _job(self, event: WorkflowRun) -> SegmentationJob:
        job = self.jobs.get(event.profile or "")
        if job is None:
            job = SegmentationJob(
                profile=event.profile or "", changed=["counters"], quiet=True, revision=self._definitions.revision
            )
            if event.profile is not None:
                self.jobs[event.profile] = job
        job.quiet, job.hops = job.quiet and event.quiet, max(job.hops, event.hops)
        return job

    def _carry_out(
        self, event: WorkflowRun, at: datetime, ran: Ran, job: SegmentationJob, resumed: Collection[str] = frozenset()
    ) -> None:
        """`at`: the time of what the run decided. `resumed`: nodes that had their first part before: their effects are
        others."""
        add_changed(job, ran.changed)
        if ran.touched and event.profile:
            self.touched.add(event.profile)
        if not ran.has_effects:
            return
        numbers: dict[str, int] = {}
        for node, command in ran.commands:
            number = numbers[node] = numbers.get(node, 999 if node in resumed else -1) + 1
            match command:
                case SetTrait() | Increment():  # the engine has applied them
                    pass
                case SetMembership() | SendTo() | MergeBy() if event.profile is None:
                    ran.errors.append((node, "no_profile"))
                case SetMembership(segment, member, origin):
                    self.memberships[event.profile or "", segment, origin] = member
                    add_changed(job, [f"segments.{segment}"])
                case SendTo(destination, properties) if not event.quiet:
                    job.sends.append(
                        Send(
                            id=effect_id(event, ran, node, number),
                            revision=self._definitions.revision,
                            destination=destination,
                            event_type=event.type,
                            properties=properties,
                        )
                    )
                case _:
                    if isinstance(command, Emit):
                        at += _NEXT
                    self._carry_out_rare(event, at, ran, node, number, command)

    def _carry_out_rare(
        self, event: WorkflowRun, at: datetime, ran: Ran, node: str, number: int, command: Command
    ) -> None:
        match command:
            case MergeBy(namespace, value):
                if key := self._identifiers.key(namespace, value):
                    self.merges.append(merge_job(event, event.profile or "", key))
            case Emit(type, properties):
                id = effect_id(event, ran, node, number)
                self._emit(event, ran, node, payload(event, id, type, properties, at))
            case Log(message):
                log.info("workflow %s, node %s, event %s: %s", ran.workflow, node, event.id, message)

    def _emit(self, event: WorkflowRun, ran: Ran, node: str, payload: msgspec.Raw) -> None:
        """The event is recorded already: what it may not emit is noted, and must not make a dead letter of it."""
        key = event.session or event.profile or event.id
        if event.hops >= MAX_HOPS:
            ran.errors.append((node, "loop_detected"))
        elif len(bytes(payload)) + len(key.encode()) > MAX_RECORD_BYTES:
            ran.errors.append((node, "event_too_large"))
        else:
            self.emitted.append(EmittedEvent(key=key, hops=event.hops + 1, payload=payload, quiet=event.quiet))


def _asked(parked: Parked) -> dict[str, tuple[str, Call]]:
    event, workflow = parked.event, parked.workflow
    return {
        node: (derived_id("call", event.source, event.id, workflow, node), call)
        for node, call in parked.state.calls.items()
    }
