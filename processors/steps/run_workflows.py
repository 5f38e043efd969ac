"""run-workflows: runs the chosen workflows, once an event, and writes the profile they leave behind."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from processors.runner.failures import Unavailable
from processors.storage.memberships import SegmentMemberships
from processors.storage.profiles import Profiles
from processors.storage.runs import Done, Runs, Traits
from schemas.events import EmittedEvent, WorkflowRun
from schemas.limits import MAX_HOPS, MAX_RECORD_BYTES
from schemas.origin import derived_id
from schemas.profiles import MergeJob, SegmentationJob, Send
from workflows.actions.action import Run
from workflows.commands import Emit, Increment, Log, MergeBy, SendTo, SetMembership, SetTrait
from workflows.definitions import Definitions
from workflows.engine import Ran, describe, run_workflow
from workflows.graph import Graph
from workflows.identification import IdentifierKey, Identifiers
from workflows.identity import ProfileIds
from workflows.profile import ProfileState

log = logging.getLogger("headwater.workflows")


async def run_workflows(
    runs: Sequence[WorkflowRun],
    definitions: Definitions,
    profile_ids: ProfileIds,
    profiles: Profiles,
    finished: Runs,
    traits: Traits,
    members: SegmentMemberships,
) -> list[Any]:
    """Merge jobs, emitted events, and a segmentation job for each profile that an event touched.

    Raises Unavailable where the rules knew definitions that are not here yet: a moment later they are.
    """
    if any(run.routed_revision > definitions.revision for run in runs):
        raise Unavailable("definitions behind")
    live = await profiles.lock_live({run.profile for run in runs if run.profile})
    wanted: dict[Any, WorkflowRun] = {
        run.origin: run for run in runs if run.workflows or (run.profile and definitions.mappings_of(run))
    }
    # The lock first: what another lane runs meanwhile is not due any more once we have it.
    states = await traits.lock({live[run.profile] for run in wanted.values() if run.profile}) if wanted else {}
    due = await finished.due(list(wanted)) if wanted else {}
    todo = {origin: run for origin, run in wanted.items() if origin in due}
    if parted := {origin: owner for origin, run in todo.items() if (owner := due[origin]) and owner != run.profile}:
        # A merge was undone while they were on their way.
        live |= await profiles.lock_live(set(parted.values()))
        states |= await traits.lock({live[owner] for owner in parted.values()} - states.keys())
    batch = _Batch(definitions, Identifiers(definitions, profile_ids.hide), states)
    for run in runs:
        owner = parted.get(run.origin, run.profile)
        mine = msgspec.structs.replace(run, profile=owner and live[owner])
        if owner != run.profile:  # what it carries is another person's
            mine.traits, mine.consents = {}, {}
        batch.add(mine, todo.pop(run.origin, None) is not None)
    if batch.outcomes:
        await finished.store(batch.outcomes)
    if batch.touched:
        await traits.store({profile: states[profile] for profile in sorted(batch.touched)})
    if batch.memberships:
        await members.say(batch.memberships)
    return [*batch.merges, *batch.emitted, *batch.jobs.values()]


class _Batch:
    """What the runs of a batch lead to."""

    def __init__(self, definitions: Definitions, identifiers: Identifiers, states: dict[str, ProfileState]) -> None:
        self._definitions, self._identifiers, self._states = definitions, identifiers, states
        self.outcomes: list[Done] = []
        self.jobs: dict[str, SegmentationJob] = {}
        self.merges: list[MergeJob] = []
        self.emitted: list[EmittedEvent] = []
        #: Profiles whose state the runs changed.
        self.touched: set[str] = set()
        #: What workflows said, last, of a profile's membership in a segment.
        self.memberships: dict[tuple[str, str], bool] = {}

    def add(self, event: WorkflowRun, first_time: bool) -> None:
        job = self.jobs.get(event.profile or "")
        if job is None:
            job = SegmentationJob(profile=event.profile or "", changed=["counters"], quiet=True)
            if event.profile is not None:
                self.jobs[event.profile] = job
        job.quiet, job.hops = job.quiet and event.quiet, max(job.hops, event.hops)
        if first_time:
            state = self._states[event.profile] if event.profile else ProfileState({}, {})
            done = Done(event, {}, [])
            self._run_all(done, state, job)
            self.outcomes.append(done)

    def _run_all(self, done: Done, state: ProfileState, job: SegmentationJob) -> None:
        event = done.event
        for mapping in self._definitions.mappings_of(event) if event.profile else ():
            self._run(mapping.graph, done, state, job)
        for workflow in event.workflows:
            graph = self._definitions.workflows.get(workflow)
            if graph is None:
                done.outcome[workflow] = {"nodes": [], "errors": [{"node": "", "error": "unknown_workflow"}]}
                continue
            self._run(graph, done, state, job)

    def _run(self, graph: Graph, done: Done, state: ProfileState, job: SegmentationJob) -> None:
        ran = run_workflow(graph, Run(done.event, state), self._definitions.strategies)
        self._carry_out(done.event, ran, job)
        done.outcome[graph.id] = describe(ran)
        done.changes += ran.changes

    def _carry_out(self, event: WorkflowRun, ran: Ran, job: SegmentationJob) -> None:
        _add_changed(job, ran.changed)
        if ran.changed and event.profile:
            self.touched.add(event.profile)
        for number, (node, command) in enumerate(ran.commands):
            match command:
                case SetTrait() | Increment():  # nearly all are, and the engine has applied them
                    pass
                case SetMembership() | SendTo() | MergeBy() if event.profile is None:
                    ran.errors.append((node, "no_profile"))
                case SetMembership(segment, member):
                    self._set_membership(event.profile or "", segment, member, job)
                case SendTo(destination, properties) if not event.quiet:
                    job.sends.append(
                        Send(
                            id=_effect_id(event, ran, node, number),
                            revision=self._definitions.revision,
                            destination=destination,
                            event_type=event.type,
                            properties=properties,
                        )
                    )
                case MergeBy(namespace, value):
                    if key := self._identifiers.key(namespace, value):
                        self.merges.append(_merge_job(event, event.profile or "", key))
                case Emit(type, properties):
                    id = _effect_id(event, ran, node, number)
                    self._emit(event, ran, node, _payload(event, id, type, properties))
                case Log(message):
                    log.info("workflow %s, node %s, event %s: %s", ran.workflow, node, event.id, message)

    def _set_membership(self, profile: str, segment: str, member: bool, job: SegmentationJob) -> None:
        self.memberships[profile, segment] = member
        _add_changed(job, [f"segments.{segment}"])

    def _emit(self, event: WorkflowRun, ran: Ran, node: str, payload: msgspec.Raw) -> None:
        """The event is recorded already: what it may not emit is noted, and must not make a dead letter of it."""
        key = event.session or event.profile or event.id
        if event.hops >= MAX_HOPS:
            ran.errors.append((node, "loop_detected"))
        elif len(bytes(payload)) + len(key.encode()) > MAX_RECORD_BYTES:
            ran.errors.append((node, "event_too_large"))
        else:
            self.emitted.append(EmittedEvent(key=key, hops=event.hops + 1, payload=payload, quiet=event.quiet))


def _merge_job(event: WorkflowRun, profile: str, key: IdentifierKey) -> MergeJob:
    return MergeJob(
        profiles=[profile], cause="workflow", namespace=key[0], value=key[1], event=event.id, quiet=event.quiet
    )


def _effect_id(event: WorkflowRun, ran: Ran, node: str, number: int) -> str:
    return derived_id("effect", event.source, event.id, ran.workflow, node, number)


def _add_changed(job: SegmentationJob, names: Collection[str]) -> None:
    if any(name not in job.changed for name in names):  # most events of a profile change the same
        job.changed = sorted({*job.changed, *names})


def _payload(event: WorkflowRun, id: str, type: str, properties: dict[str, Any]) -> msgspec.Raw:
    body: dict[str, Any] = {"source": {"id": event.source}}
    if event.session:
        body["session"] = {"id": event.session}
    if event.profile:
        body["profile"] = {"id": event.profile}
    else:
        body["profile_less"] = True
    sent = {"id": id, "type": type, "timestamp": event.occurred_at, "properties": properties}
    body["events"] = [sent]
    body["options"] = {"saveEvents": event.save}
    return msgspec.Raw(msgspec.json.encode(body))
