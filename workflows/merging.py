"""Which profiles become one, and which survives. Pure: merge reads the profiles, asks here, writes what this says."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from schemas.profiles import MergeJob
from workflows.definitions import Definitions

#: The cause of jobs that an operator asks for: what is only unlikely is no reason to refuse them.
OPERATOR = "operator"


class Candidate(msgspec.Struct, frozen=True):
    """What the decision needs to know of a profile: its birth, its values in unique namespaces and of traits that
    refuse to differ, and how many profiles it is made of."""

    id: str
    created_at: datetime
    unique: frozenset[tuple[str, str]] = frozenset()
    size: int = 1
    refusing: frozenset[tuple[str, str]] = frozenset()
    #: Live profiles from which an operator has parted it.
    apart: frozenset[str] = frozenset()

    @property
    def seniority(self) -> tuple[datetime, str]:
        """The survivor is the oldest by creation, then the smallest id."""
        return self.created_at, self.id


class Decision(msgspec.Struct, frozen=True):
    """What a job led to: `absorbed` go into `survivor`, or, with a `conflict`, stay apart."""

    job: MergeJob
    survivor: str
    absorbed: tuple[str, ...]
    #: What stands against it: profiles that have different values in a unique namespace (`unique`), that are identified
    #: already and tied together by something weak (`both_identified`), that are too many (`too_many_profiles`), that
    #: differ in a trait which refuses that (`trait`), that an operator has parted (`kept_apart`).
    conflict: Literal["unique", "both_identified", "too_many_profiles", "trait", "kept_apart"] | None = None
    #: The namespace, or the trait, that this is about.
    namespace: str = ""


def decide(jobs: Iterable[MergeJob], roots: Mapping[str, Candidate], definitions: Definitions) -> list[Decision]:
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
        decision = _guarded(Decision(job, survivor.id, absorbed), candidates.values(), definitions)
        decisions.append(decision)
        if decision.conflict is None:
            _join(now, survivor, [candidates[id] for id in absorbed])
    return decisions


def _join(now: dict[str, Candidate], survivor: Candidate, absorbed: list[Candidate]) -> None:
    gone = {candidate.id for candidate in absorbed} | {survivor.id}
    unique = survivor.unique.union(*(candidate.unique for candidate in absorbed))
    size = survivor.size + sum(candidate.size for candidate in absorbed)
    refusing = survivor.refusing.union(*(candidate.refusing for candidate in absorbed))
    apart = survivor.apart.union(*(candidate.apart for candidate in absorbed))
    joined = msgspec.structs.replace(survivor, unique=unique, size=size, refusing=refusing, apart=apart)
    for id, candidate in now.items():
        if candidate.id in gone:
            now[id] = joined


def _guarded(decision: Decision, candidates: Collection[Candidate], definitions: Definitions) -> Decision:
    """The decision, or what stands against it."""
    job = decision.job
    if job.contradicted:
        return msgspec.structs.replace(decision, conflict="unique", namespace=job.contradicted)
    if (differs := _differ(candidate.unique for candidate in candidates)) is not None:
        return msgspec.structs.replace(decision, conflict="unique", namespace=differs)
    if (differs := _differ(candidate.refusing for candidate in candidates)) is not None:
        return msgspec.structs.replace(decision, conflict="trait", namespace=differs)
    if job.cause == OPERATOR:
        return decision
    ids = {candidate.id for candidate in candidates}
    if any(candidate.apart & ids - {candidate.id} for candidate in candidates):
        return msgspec.structs.replace(decision, conflict="kept_apart", namespace=job.namespace)
    tie = definitions.namespace(job.namespace)
    identified = {candidate.unique for candidate in candidates if candidate.unique}
    if len(identified) > 1 and not (tie.unique or tie.joins_identified or job.verified):
        return msgspec.structs.replace(decision, conflict="both_identified", namespace=job.namespace)
    if sum(candidate.size for candidate in candidates) > definitions.guards.max_profiles:
        return msgspec.structs.replace(decision, conflict="too_many_profiles", namespace=job.namespace)
    return decision


def _differ(pairs: Iterable[frozenset[tuple[str, str]]]) -> str | None:
    """The first name that has more than one value."""
    values: dict[str, set[str]] = {}
    for some in pairs:
        for name, value in some:
            values.setdefault(name, set()).add(value)
    return next((name for name, found in sorted(values.items()) if len(found) > 1), None)
