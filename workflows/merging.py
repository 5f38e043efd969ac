"""Which profiles become one, and which survives. Pure: merge reads the profiles, asks here, writes what this says."""

from collections.abc import Collection, Iterable, Mapping, Sequence
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

    `roots` has for every profile id in the jobs the live profile that it stands for now, the same for all that stand
    for one. Jobs whose profiles are one already lead to nothing.
    """
    now = _Now(roots)
    decisions = []
    for job in jobs:
        candidates = {found.id: found for found in map(now.live, job.profiles) if found is not None}
        if len(candidates) < 2:
            continue
        survivor = min(candidates.values(), key=lambda candidate: candidate.seniority)
        absorbed = tuple(sorted(candidates.keys() - {survivor.id}))
        decision = _guarded(Decision(job, survivor.id, absorbed), candidates.values(), definitions)
        decisions.append(decision)
        if decision.conflict is None:
            now.join(survivor, [candidates[id] for id in absorbed])
    return decisions


class _Now:
    """What the decisions of a batch have led to so far."""

    def __init__(self, roots: Mapping[str, Candidate]) -> None:
        self._roots, self._live = roots, {candidate.id: candidate for candidate in roots.values()}
        #: Whom those that were live have become part of, and those again.
        self._into: dict[str, str] = {}

    def live(self, id: str) -> Candidate | None:
        """Whom a profile is part of by now; None where it was not there."""
        if id not in self._roots:
            return None
        first = last = self._roots[id].id
        while last in self._into:
            last = self._into[last]
        if last != first:
            self._into[first] = last
        return self._live[last]

    def join(self, survivor: Candidate, absorbed: Sequence[Candidate]) -> None:
        """The absorbed are part of the survivor."""
        self._into.update({candidate.id: survivor.id for candidate in absorbed})
        self._live[survivor.id] = msgspec.structs.replace(
            survivor,
            unique=survivor.unique.union(*(candidate.unique for candidate in absorbed)),
            size=survivor.size + sum(candidate.size for candidate in absorbed),
            refusing=survivor.refusing.union(*(candidate.refusing for candidate in absorbed)),
            apart=survivor.apart.union(*(candidate.apart for candidate in absorbed)),
        )


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
