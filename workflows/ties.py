"""Ties: what an event says about who is one person, and the merge jobs that ask for it."""

from collections.abc import Iterable, Mapping

import msgspec

from schemas.events import ValidEvent
from schemas.profiles import MergeJob
from workflows.definitions import Definitions
from workflows.identification import IdentifierKey, Shown
from workflows.known import Birth, Stored


class Case(msgspec.Struct):
    """One event: what it shows, whom that leads to, and who of them it may be."""

    event: ValidEvent
    shown: list[Shown]
    #: What the event shows in unique namespaces.
    named: dict[str, str]
    own: Birth | None
    owners: dict[IdentifierKey, Birth]
    candidates: dict[str, Birth] = {}

    @property
    def everybody(self) -> dict[str, Birth]:
        """Whom it leads to, the ruled out ones too."""
        return {birth.id: birth for birth in ([self.own] if self.own else []) + list(self.owners.values())}


def contradiction(values: Mapping[str, set[str]] | None, named: Mapping[str, str]) -> str | None:
    """The unique namespace in which a profile with these values has another value than is named."""
    if not values:
        return None
    return next((name for name, value in named.items() if values.get(name) and value not in values[name]), None)


class Ties:
    """Makes the merge jobs of an event."""

    def __init__(self, definitions: Definitions, identifiers: Mapping[IdentifierKey, Stored]) -> None:
        self._definitions, self._identifiers = definitions, identifiers

    def jobs(self, case: Case, owner: Birth) -> list[MergeJob]:
        """A job for each candidate that is not the owner: what ties these two speaks for no others."""
        return [self._job(case, owner.id, other) for other in sorted(case.candidates.keys() - {owner.id})]

    def _job(self, case: Case, owner: str, other: str) -> MergeJob:
        ends = [self._strongest(case, end) for end in (owner, other) if case.own is None or end != case.own.id]
        tie = min(ends, key=self.is_strong)
        return _job(case.event, [owner, other], tie.key[0], verified=self._verified(tie))

    def _strongest(self, case: Case, profile: str) -> Shown:
        """Of what the event shows of a profile that is not its session's."""
        ties = [one for one in case.shown if one.key in case.owners and case.owners[one.key].id == profile]
        return max(ties, key=self.is_strong)

    def is_strong(self, tie: Shown) -> bool:
        """Whether this, stored and shown, says who somebody is: a login, not a device."""
        namespace = self._definitions.namespace(tie.key[0])
        return namespace.unique or namespace.joins_identified or self._verified(tie)

    def _verified(self, tie: Shown) -> bool:
        return tie.verified and self._identifiers[tie.key].seen.verified


def refusals(case: Case, owner: Birth, values: Mapping[str, dict[str, set[str]]]) -> Iterable[MergeJob]:
    """A job for each profile that the event leads to and rules out: merge says no, and keeps it for people to see."""
    for id in sorted(case.everybody.keys() - case.candidates.keys() - {owner.id}):
        tie = next((key[0] for key, birth in case.owners.items() if birth.id == id), None)
        contradicted = contradiction(values.get(id), case.named) or ""
        tie = tie or contradicted or next(iter(case.owners))[0]
        yield _job(case.event, [owner.id, id], tie, contradicted=contradicted)


def _job(
    event: ValidEvent, profiles: list[str], namespace: str, verified: bool = False, contradicted: str = ""
) -> MergeJob:
    return MergeJob(
        profiles=profiles,
        cause="identifier",
        namespace=namespace,
        verified=verified,
        contradicted=contradicted,
        event=event.id,
        quiet=event.quiet,
    )
