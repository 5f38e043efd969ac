"""run-workflows: runs the chosen workflows, once an event, and writes the profile they leave behind. Runs that wait are
parked, and go on when what they wait for has come."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from processors.runner.failures import Unavailable
from processors.storage.consents import Consents
from processors.storage.memberships import SegmentMemberships
from processors.storage.parked import ParkedRuns
from processors.storage.profiles import Profiles
from processors.storage.runs import Runs, Traits
from schemas.events import WorkflowRun
from schemas.origin import Origin
from workflows.consent import given
from workflows.definitions import Definitions
from workflows.identification import Identifiers
from workflows.identity import ProfileIds
from workflows.running import Parked, RunKey, Running
from workflows.wildcards import matches


async def run_workflows(
    runs: Sequence[WorkflowRun],
    definitions: Definitions,
    profile_ids: ProfileIds,
    profiles: Profiles,
    finished: Runs,
    traits: Traits,
    members: SegmentMemberships,
    parked: ParkedRuns,
    consents: Consents,
    now: Callable[[], datetime],
) -> list[Any]:
    """Merge jobs, emitted events, and a segmentation job for each profile that an event touched.

    Raises Unavailable where the rules knew definitions that are not here yet: a moment later they are.
    """
    if any(run.routed_revision > definitions.revision for run in runs):
        raise Unavailable("definitions behind")
    resumed = await parked.owners({(run.origin, run.resumption.workflow) for run in runs if run.resumption})
    awaited = definitions.awaited_types | await parked.awaited_types()
    live = await profiles.lock_live({run.profile for run in runs if run.profile} | _people(resumed))
    wanted = {run.origin: run for run in runs if _may_run(run, definitions, awaited)}
    # The lock first: what another lane runs meanwhile is not due any more once we have it.
    owners = {run.profile for run in wanted.values() if run.profile} | _people(resumed)
    states = await traits.lock({live[owner] for owner in owners}) if owners else {}
    due = await finished.due(list(wanted)) if wanted else {}
    if parted := {o: owner for o, run in wanted.items() if (owner := due.get(o)) and owner != run.profile}:
        # A merge was undone while they were on their way.
        live |= await profiles.lock_live(set(parted.values()))
        states |= await traits.lock({live[owner] for owner in parted.values()} - states.keys())
    waiting = await _waiting(resumed, wanted.values(), awaited, live, states, definitions, parked, consents, now)
    batch = Running(definitions, Identifiers(definitions, profile_ids.hide), states, waiting)
    rows: dict[Origin, bytes] = {}
    for run in runs:
        if run.resumption is not None:
            batch.resume(run.origin, run.resumption)
            continue
        owner = parted.get(run.origin, run.profile)
        mine = msgspec.structs.replace(run, profile=owner and live[owner])
        if owner != run.profile:  # what it carries is another person's
            mine.traits, mine.consents = {}, {}
        if done := batch.add(mine, run.origin in due):
            rows[run.origin] = finished.row(done)
        due.pop(run.origin, None)
    rows |= {origin: finished.row(done) for origin, done in batch.outcomes.items()}
    if rows:
        await finished.store(rows)
    await _store(batch, traits, members, parked)
    return [*batch.merges, *batch.emitted, *batch.jobs.values()]


def _may_run(run: WorkflowRun, definitions: Definitions, awaited: frozenset[str]) -> bool:
    """Whether anything may come of the event, if it has not come of it before."""
    if run.resumption is not None:
        return False
    if run.workflows:
        return True
    return run.profile is not None and (bool(definitions.mappings_of(run)) or matches(awaited, run.type))


def _people(owners: Mapping[RunKey, str | None]) -> set[str]:
    return {owner for owner in owners.values() if owner}


async def _waiting(
    resumed: Mapping[RunKey, str | None],
    events: Iterable[WorkflowRun],
    awaited: frozenset[str],
    live: Mapping[str, str],
    locked: Collection[str],
    definitions: Definitions,
    parked: ParkedRuns,
    consents: Consents,
    now: Callable[[], datetime],
) -> list[Parked]:
    """The runs that may go on now, of those who are live, with what these agree to now."""
    people = {live[event.profile] for event in events if event.profile and matches(awaited, event.type)}
    if not resumed and not people:
        return []
    loaded = await parked.load(resumed, people, definitions)
    found = [one for one in loaded if one.event.profile is None or one.event.profile in locked]
    if resumed.keys() - {one.key for one in found} & {one.key for one in loaded}:
        raise Unavailable("a merge was undone meanwhile")  # it is somebody else's now: once more, with their lock
    theirs = [one.event for one in found if one.event.profile]
    said = await consents.load({event.profile or "" for event in theirs}) if definitions.governs else {}
    for event in theirs:
        event.consents = given(said[event.profile or ""], now(), definitions) if said else {}
    return found


async def _store(batch: Running, traits: Traits, members: SegmentMemberships, parked: ParkedRuns) -> None:
    if batch.touched:
        await traits.store({profile: batch.states[profile] for profile in sorted(batch.touched)})
    if batch.memberships:
        await members.say(batch.memberships)
    if batch.parts:
        await parked.note(batch.parts)
    if batch.moved:
        await parked.store([batch.parked[key] for key in sorted(batch.moved)])
