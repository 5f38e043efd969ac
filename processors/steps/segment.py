"""segment: evaluates segments for profiles that changed, and says, once a batch, what each profile is now."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from processors.storage.consents import Consents
from processors.storage.events import Counters
from processors.storage.memberships import Said, SegmentMemberships, Versions
from processors.storage.profiles import Profiles
from processors.storage.runs import Traits
from processors.storage.sends import SaidSends
from schemas.profiles import ProfileChange, SegmentationJob
from workflows.conditions import Context
from workflows.consent import given
from workflows.definitions import Definitions
from workflows.profile import ProfileState
from workflows.segments import Memberships, memberships, profile_variables


async def segment(
    jobs: Sequence[SegmentationJob],
    definitions: Definitions,
    profiles: Profiles,
    traits: Traits,
    counters: Counters,
    members: SegmentMemberships,
    consents: Consents,
    versions: Versions,
    sends: SaidSends,
) -> list[ProfileChange]:
    """The profiles' changes, versions counting up. A merged profile gets one last change that names its survivor.

    What a workflow sent is said once, with the profile as it was then, however often its job is repeated: under one
    idempotency key there is one body.
    """
    new = await sends.say({send.id for job in jobs for send in job.sends})
    folded = _fold(jobs, new)
    live = await profiles.lock_live(folded)
    known = await versions.load(list(folded))
    standing = [profile for profile in folded if live[profile] == profile]
    states, counts, before = await traits.load(standing), await counters.load(standing), await members.load(standing)
    said = await consents.load(standing) if definitions.consents else {}
    changes: list[ProfileChange] = []
    after: dict[str, Memberships] = {}
    for profile, job in folded.items():
        last = known.get(profile) or Said()
        change = ProfileChange(profile=profile, version=last.version + 1, at=datetime.now(UTC), changed=job.changed)
        change.sends, change.absorbed, change.quiet = job.sends, job.absorbed, job.quiet
        if live[profile] != profile:
            change.merged_into = live[profile]
            if last.merged_into != live[profile] or job.sends:
                changes.append(change)
            continue
        change.consents = given(said.get(profile, {}), change.at, definitions)
        after[profile] = _evaluate(change, last, states[profile], counts[profile], before[profile], definitions)
        changes.append(change)
    await members.change(before, after)
    await versions.store(changes)
    return changes


def _fold(jobs: Sequence[SegmentationJob], new: set[str]) -> dict[str, SegmentationJob]:
    """One job a profile, everything added up; of the sends those that are new, once."""
    folded: dict[str, SegmentationJob] = {}
    for job in jobs:
        known = folded.setdefault(job.profile, SegmentationJob(profile=job.profile, quiet=True))
        known.quiet = known.quiet and job.quiet
        known.changed = sorted({*known.changed, *job.changed})
        for send in job.sends:
            if send.id in new:
                new.remove(send.id)
                known.sends.append(send)
        known.absorbed = sorted({*known.absorbed, *job.absorbed})
    return folded


def _evaluate(
    change: ProfileChange,
    last: Said,
    state: ProfileState,
    counts: dict[str, int],
    before: Memberships,
    definitions: Definitions,
) -> Memberships:
    traits = state.values()
    change.traits = {name: value for name, value in traits.items() if name not in definitions.private_traits}
    change.private = {name: value for name, value in traits.items() if name in definitions.private_traits}
    change.totals, change.counters = dict[str, Decimal](state.totals), counts
    earlier, totals, consents = set(last.segments), change.totals, change.consents
    context = Context({"profile": lambda: profile_variables(change.profile, traits, totals, counts, earlier, consents)})
    after = memberships(definitions.segments, before, context)
    now = {key for key, _ in after}
    change.segments, change.entered, change.left = sorted(now), sorted(now - earlier), sorted(earlier - now)
    return after
