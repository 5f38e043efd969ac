"""merge: profiles that are one person become one, with an audit row; the only place that links profiles."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from processors.storage.merges import Merges
from schemas.profiles import MergeJob, SegmentationJob
from workflows.definitions import Definitions
from workflows.merging import decide


async def merge(jobs: Sequence[MergeJob], definitions: Definitions, merges: Merges) -> list[SegmentationJob]:
    """A segmentation job for each survivor, and one for each profile that is now part of it: its last change."""
    claimed = [await _claimed(job, merges, definitions) for job in jobs]
    ids = {id for job in claimed for id in job.profiles}
    roots = await merges.lock(ids, definitions)
    moved = await merges.carry_out(decide(claimed, roots, definitions), definitions.strategies)
    await merges.answer(jobs)
    survivors: dict[str, list[str]] = {}
    quiet = all(job.quiet for job in jobs)
    for absorbed, survivor in moved.items():
        survivors.setdefault(survivor, []).append(absorbed)
    return [
        *(
            SegmentationJob(profile=id, changed=["merged"], absorbed=sorted(gone), quiet=quiet)
            for id, gone in survivors.items()
        ),
        *(SegmentationJob(profile=absorbed, changed=["merged"], quiet=quiet) for absorbed in moved),
    ]


async def _claimed(job: MergeJob, merges: Merges, definitions: Definitions) -> MergeJob:
    if job.value is None:
        return job
    owner = await merges.claim(job, datetime.now(UTC), definitions.namespace(job.namespace).unique)
    others = [owner] if owner and owner not in job.profiles else []
    return msgspec.structs.replace(job, profiles=[*job.profiles, *others])
