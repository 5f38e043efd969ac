"""segment: evaluates segments for profiles that changed, and says, once a batch, what each profile is now."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

from processors.storage.erasures import Erasures
from processors.storage.memberships import Said, SegmentMemberships, Versions
from processors.storage.people import People, Person
from processors.storage.profiles import Profiles
from processors.storage.sends import SaidSends
from processors.storage.windows import Windows
from schemas.profiles import ProfileChange, SegmentationJob
from workflows.conditions import Context
from workflows.consent import given, next_end
from workflows.counters import carried
from workflows.definitions import Definitions
from workflows.segments import Memberships, memberships, profile_variables
from workflows.windows import counts_in, next_change


async def segment(
    jobs: Sequence[SegmentationJob],
    definitions: Definitions,
    now: Callable[[], datetime],
    profiles: Profiles,
    people: People,
    members: SegmentMemberships,
    versions: Versions,
    windows: Windows,
    sends: SaidSends,
    erasures: Erasures,
) -> list[ProfileChange]:
    """The profiles' changes, versions counting up. A merged profile gets one last change that names its survivor; one
    that was erased a change that says so, and whatever was under way about it nothing.

    What a workflow sent is said once, with the profile as it was then, however often its job is repeated: under one
    idempotency key there is one body. Of a profile that is merged it is said with the survivor as it is then.
    """
    new = await sends.say({send.id for job in jobs for send in job.sends})
    folded = _fold(jobs, new)
    live = await profiles.lock_live(folded)
    survivors = {live[profile] for profile, job in folded.items() if job.sends and live[profile] != profile}
    known = await versions.load([*{*folded, *survivors}])
    at = now()
    gone = await _gone(folded, profiles, erasures)
    standing = [profile for profile in folded if live[profile] == profile and profile not in gone]
    found = await people.load([*{*standing, *survivors}], definitions, at.date())
    changes: list[ProfileChange] = []
    after: dict[str, Memberships] = {}
    for profile, job in folded.items():
        last = known.get(profile) or Said()
        if "erased" in job.changed:
            last = _tell_erased(profile, last, at, job, changes)
            if not job.changed and not job.sends:
                continue
        if profile in gone:
            continue
        change = ProfileChange(profile=profile, version=last.version + 1, at=at, changed=job.changed)
        change.sends, change.absorbed, change.quiet = job.sends, job.absorbed, job.quiet
        change.back_fill, change.hops = job.back_fill, job.hops
        if live[profile] != profile:
            change.merged_into = live[profile]
            if job.sends:
                change.survivor = _survivor(live[profile], at, known, found, definitions)
            wanted = last.merged_into != live[profile] or bool(job.sends)
        else:
            after[profile] = _evaluate(change, last, found[profile], definitions)
            wanted = not job.silent or bool(change.entered or change.left)
        if wanted:
            changes.append(change)
    for change in changes:
        change.revision = definitions.revision
    await members.change({profile: found[profile].memberships for profile in after}, after)
    await versions.store(changes)
    if definitions.change_by_themselves:
        await windows.set_timers({profile: _due(found[profile], at, definitions) for profile in standing})
    return changes


def _survivor(
    profile: str, at: datetime, known: Mapping[str, Said], found: Mapping[str, Person], definitions: Definitions
) -> ProfileChange:
    """Its versions and memberships are another lane's to say: this is for what was sent alone."""
    last = known.get(profile) or Said()
    seen = ProfileChange(profile=profile, version=last.version, at=at)
    _evaluate(seen, last, found[profile], definitions)
    seen.entered, seen.left = [], []
    return seen


def _tell_erased(profile: str, last: Said, at: datetime, job: SegmentationJob, changes: list[ProfileChange]) -> Said:
    """A change of its own, before whatever else the job is about: who comes back is somebody new."""
    told = ProfileChange(profile=profile, version=last.version + 1, at=at, changed=["erased"], erased=True)
    changes.append(told)
    job.changed.remove("erased")
    return Said(told.version)


async def _gone(folded: Collection[str], profiles: Profiles, erasures: Erasures) -> set[str]:
    """Those who were erased and have not come back."""
    erased = set(await erasures.known(folded))
    return erased - await profiles.there(erased) if erased else set()


def _due(person: Person, now: datetime, definitions: Definitions) -> date | datetime | None:
    """When the segments may be others though nothing happens: at midnight, or when a consent ends."""
    end = next_end(person.statements, now, definitions)
    day = next_change(definitions.windows, person.days, now.date())
    if end is None or day is None:
        return end or day
    return end if end.date() < day else day


def _fold(jobs: Sequence[SegmentationJob], new: set[str]) -> dict[str, SegmentationJob]:
    """One job a profile, everything added up; of the sends those that are new, once."""
    folded: dict[str, SegmentationJob] = {}
    for job in jobs:
        known = folded.setdefault(
            job.profile, SegmentationJob(profile=job.profile, quiet=True, silent=True, back_fill=True)
        )
        known.back_fill, known.hops = known.back_fill and job.back_fill, max(known.hops, job.hops)
        known.silent = known.silent and job.silent
        known.quiet = known.quiet and job.quiet
        known.changed = sorted({*known.changed, *job.changed})
        for send in job.sends:
            if send.id in new:
                new.remove(send.id)
                known.sends.append(send)
        known.absorbed = sorted({*known.absorbed, *job.absorbed})
    return folded


def _evaluate(change: ProfileChange, last: Said, person: Person, definitions: Definitions) -> Memberships:
    traits = person.state.values()
    change.traits = {name: value for name, value in traits.items() if name not in definitions.private_traits}
    change.private = {name: value for name, value in traits.items() if name in definitions.private_traits}
    change.totals, change.counters = dict[str, Decimal](person.state.totals), carried(person.counters)
    change.consents = given(person.statements, change.at, definitions)
    change.windows = counts_in(definitions.windows, person.days, change.at.date())
    change.visits = person.visits
    earlier, totals, consents, windows = set(last.segments), change.totals, change.consents, change.windows
    context = Context(
        {
            "profile": lambda: profile_variables(
                change.profile, traits, totals, person.counters, earlier, consents, windows, person.visits
            )
        }
    )
    after = memberships(definitions.segments, person.memberships, context)
    now = {key for key, _ in after}
    change.segments, change.entered, change.left = sorted(now), sorted(now - earlier), sorted(earlier - now)
    return after
