"""Which profiles become one, and which survives. Pure: merge reads the profiles, asks here, writes what this says."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from schemas.profiles import MergeJob


class Candidate(msgspec.Struct, frozen=True):
    """What the decision needs to know of a profile: its birth, and its values in unique namespaces."""

    id: str
    created_at: datetime
    unique: frozenset[tuple[str, str]] = frozenset()

    @property
    def seniority(self) -> tuple[datetime, str]:
        """The survivor is the oldest by creation, then the smallest id."""
        return self.created_at, self.id


class Decision(msgspec.Struct, frozen=True):
    """What a job led to: `absorbed` go into `survivor`, or, with a `conflict`, stay apart."""

    job: MergeJob
    survivor: str
    absorbed: tuple[str, ...]
    #: The unique namespace in which the profiles have different values.
    conflict: str | None = None


def decide(jobs: Iterable[MergeJob], roots: Mapping[str, Candidate]) -> list[Decision]:
    """What to do about each job, in order, each seeing what the ones before it led to.

    `roots` has for every profile id in the jobs the live profile that it stands for now. Jobs whose profiles are one
    already lead to nothing.
    """
    now = dict(roots)
    decisions = []
    for job in jobs:
        candidates = {now[id].id: now[id] for id in job.profiles if id in now}
        if len(candidates) < 2:
            continue
        survivor = min(candidates.values(), key=lambda candidate: candidate.seniority)
        absorbed = tuple(sorted(candidates.keys() - {survivor.id}))
        conflict = _conflict(candidates.values())
        decisions.append(Decision(job, survivor.id, absorbed, conflict))
        if conflict is None:
            _join(now, survivor, [candidates[id] for id in absorbed])
    return decisions


def _join(now: dict[str, Candidate], survivor: Candidate, absorbed: list[Candidate]) -> None:
    gone = {candidate.id for candidate in absorbed} | {survivor.id}
    unique = survivor.unique.union(*(candidate.unique for candidate in absorbed))
    joined = msgspec.structs.replace(survivor, unique=unique)
    for id, candidate in now.items():
        if candidate.id in gone:
            now[id] = joined


def _conflict(candidates: Iterable[Candidate]) -> str | None:
    values: dict[str, set[str]] = {}
    for candidate in candidates:
        for namespace, value in candidate.unique:
            values.setdefault(namespace, set()).add(value)
    return next((namespace for namespace, found in sorted(values.items()) if len(found) > 1), None)
