"""merge: profiles that are one person become one, with an audit row; the one place that links, parts or erases them."""

import asyncio
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime

import msgspec

from processors.storage.claims import Claims
from processors.storage.erasures import Erased, Erasures
from processors.storage.merges import Merges
from processors.storage.partings import Parted, Partings
from schemas.profiles import MergeJob, SegmentationJob
from workflows.definitions import Definitions
from workflows.identification import Identifiers
from workflows.identity import ProfileIds
from workflows.merging import decide


async def merge(
    jobs: Sequence[MergeJob],
    definitions: Definitions,
    profile_ids: ProfileIds,
    claims: Claims,
    merges: Merges,
    partings: Partings,
    erasures: Erasures,
    turn: asyncio.Lock,
) -> list[SegmentationJob]:
    """A segmentation job for each survivor, and one for each profile that is now part of it: its last change. Where
    profiles were parted, or erased, one for each of them.

    Lanes join in `turn`: beside each other they would wait for each other's locks, and begin again where a group has
    grown meanwhile.
    """
    found: list[SegmentationJob] = []
    if joins := [job for job in jobs if job.act == "join"]:
        async with turn:
            found += await _join(joins, definitions, claims, merges)
    for job in jobs:
        if job.act == "part":
            parted = await part(job.profiles[0], definitions, profile_ids, merges, partings)
            concerned = [parted.stayed, *parted.members] if parted else []
            found += [SegmentationJob(profile=id, changed=["unmerged"], quiet=job.quiet) for id in concerned]
        elif job.act == "erase":
            erased = await erase(job, definitions, profile_ids, merges, erasures)
            found += [SegmentationJob(profile=id, changed=["erased"]) for id in erased.profiles]
    return found


async def part(
    profile: str, definitions: Definitions, profile_ids: ProfileIds, merges: Merges, partings: Partings
) -> Parted | None:
    """Take the profile out of the one that it is part of; None where it is part of none (any more)."""
    roots = await merges.lock([profile], definitions)
    merged = await partings.merge_of(profile)
    if merged is None:
        return None
    identifiers = Identifiers(definitions, profile_ids.hide)
    return await partings.part(profile, roots[profile].id, merged, identifiers, definitions.strategies)


async def erase(
    job: MergeJob, definitions: Definitions, profile_ids: ProfileIds, merges: Merges, erasures: Erasures
) -> Erased:
    """Erase the person whose live profile the job names; nobody where it is not live any more."""
    profile = job.profiles[0]
    roots = await merges.lock([profile], definitions)
    return await erasures.erase(job.event, profile, profile in roots and roots[profile].id == profile, profile_ids.hide)


async def _join(
    jobs: Sequence[MergeJob], definitions: Definitions, claims: Claims, merges: Merges
) -> list[SegmentationJob]:
    claimed = await _claimed(jobs, claims, definitions)
    roots = await merges.lock({id for job in claimed for id in job.profiles}, definitions)
    decisions = decide(claimed, roots, definitions)
    moved = await merges.carry_out(decisions, roots, definitions.strategies)
    await merges.answer(jobs)
    loud = [one.survivor for one in decisions if one.conflict is None and not one.job.quiet]
    return _of_the_joined(moved, {moved.get(id, id) for id in loud})


def _of_the_joined(moved: Mapping[str, str], loud: Set[str]) -> list[SegmentationJob]:
    """`moved`: every profile that became part of another, and that one; `loud`: the survivors that not only a replay
    has made."""
    survivors: dict[str, list[str]] = {}
    for absorbed, survivor in moved.items():
        survivors.setdefault(survivor, []).append(absorbed)
    return [
        *(
            SegmentationJob(profile=id, changed=["merged"], absorbed=sorted(gone), quiet=id not in loud)
            for id, gone in survivors.items()
        ),
        *(
            SegmentationJob(profile=absorbed, changed=["merged"], quiet=survivor not in loud)
            for absorbed, survivor in moved.items()
        ),
    ]


async def _claimed(jobs: Sequence[MergeJob], claims: Claims, definitions: Definitions) -> list[MergeJob]:
    """The jobs, each with whoever has its value already."""
    claiming = [job for job in jobs if job.value is not None]
    if not claiming:
        return list(jobs)
    unique = {job.namespace for job in claiming if definitions.namespace(job.namespace).unique}
    owners = iter(await claims.link(claiming, datetime.now(UTC), unique))
    return [job if job.value is None else _with_owner(job, next(owners)) for job in jobs]


def _with_owner(job: MergeJob, owner: str | None) -> MergeJob:
    if owner is None or owner in job.profiles:
        return job
    return msgspec.structs.replace(job, profiles=[*job.profiles, owner])
