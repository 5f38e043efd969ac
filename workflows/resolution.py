"""Identity resolution of a batch: from sessions, client ids and identifiers to profiles, links and merge requests.

Pure. identify reads what PostgreSQL knows about the batch, asks here, and writes what this says.
"""

from collections.abc import Callable

import msgspec

from schemas.events import ValidEvent
from schemas.profiles import MergeJob
from workflows.definitions import Definitions
from workflows.identification import IdentifierKey, Shown
from workflows.known import Birth, Known, SessionKey, Sighting, Stored, Visit

#: The event type that says that a visit is over.
VISIT_ENDED = "visit-ended"


class Link(msgspec.Struct, frozen=True):
    """An identifier that is new, whose it is now, and the event that showed it."""

    profile: str
    event: ValidEvent
    seen: Sighting


class Refused(msgspec.Struct, frozen=True):
    """An identifier that was not linked: its person has as many as a person may have, or another where one is all."""

    key: IdentifierKey
    profile: str
    event: ValidEvent
    reason: str = "too_many_identifiers"


class Resolution(msgspec.Struct):
    """What to write: whose each event is, profiles to create, sessions and identifiers to link, merges to ask for."""

    owners: list[str | None]
    new_profiles: dict[str, Birth]
    sessions: dict[SessionKey, str]
    #: Sessions, stored or new, of whose visit something is new.
    visits: dict[SessionKey, Visit]
    links: dict[IdentifierKey, Link]
    #: Stored identifiers that were seen earlier or later than was known, or verified now.
    seen: dict[IdentifierKey, Sighting]
    merges: list[MergeJob]
    refused: list[Refused]


Found = list[tuple[ValidEvent, list[Shown]]]


def questioned(found: Found, known: Known) -> set[str]:
    """The profiles whose identifiers the guards must look at: an event may link another to them, or contradict them."""
    profiles: set[str] = set()
    for event, shown in found:
        if not shown:
            continue
        own = known.sessions.get((event.source, event.session or "")) or known.profiles.get(event.profile or "")
        owners = {known.identifiers[one.key].owner.id if one.key in known.identifiers else "" for one in shown}
        if own is None or owners != {own.id}:
            profiles |= owners | ({own.id} if own else set())
    return profiles - {""}


def resolve(found: Found, known: Known, definitions: Definitions, mint: Callable[..., str]) -> Resolution:
    """Say whose each event is, in order, each seeing what the ones before it led to.

    Candidates: the session's profile, else the one the door named; and the owners of the event's identifiers. None
    that has another value in a unique namespace than the event shows: that is somebody else (who used the same browser,
    or shares an e-mail). The event goes to the oldest candidate, without any to a new profile, whose id `mint` makes of
    what it shows. Where there is more than one, a merge job says why; where somebody was ruled out, one that merge
    refuses and reports.
    """
    resolver = _Resolver(known, definitions, mint)
    resolver.resolution.owners = [resolver.owner_of(event, shown) for event, shown in found]
    return resolver.resolution


class _Case(msgspec.Struct):
    """One event: whom it leads to, and who of them it may be."""

    event: ValidEvent
    shown: list[Shown]
    #: What the event shows in unique namespaces.
    named: dict[str, str]
    own: Birth | None
    owners: dict[IdentifierKey, Birth]
    candidates: dict[str, Birth] = {}

    @property
    def everybody(self) -> dict[str, Birth]:
        return {birth.id: birth for birth in ([self.own] if self.own else []) + list(self.owners.values())}


class _Resolver:
    def __init__(self, known: Known, definitions: Definitions, mint: Callable[..., str]) -> None:
        self._known, self._definitions, self._mint = known, definitions, mint
        self._unique = frozenset(definitions.unique_namespaces())
        self.resolution = Resolution([], {}, {}, {}, {}, {}, [], [])

    def owner_of(self, event: ValidEvent, shown: list[Shown]) -> str | None:
        session = (event.source, event.session) if event.session else None
        identifiers = self._known.identifiers
        shown, second = self._one_each(shown)
        case = _Case(
            event,
            shown,
            {one.key[0]: one.key[1] for one in shown if one.key[0] in self._unique},
            self._own(event, session),
            {one.key: identifiers[one.key].owner for one in shown if one.key in identifiers},
        )
        everybody = case.everybody
        if not everybody:
            return None
        case.candidates = {id: birth for id, birth in everybody.items() if self._contradiction(id, case.named) is None}
        if not case.candidates:
            case.candidates = self._new_person(case)
        owner = min(case.candidates.values(), key=lambda birth: birth.seniority)
        self._ask_to_join(case, owner)
        self._ask_what_is_refused(case, owner)
        self._remember(event, session, shown, owner)
        self.resolution.refused += [Refused(one.key, owner.id, event, "unique") for one in second]
        return owner.id

    def _one_each(self, shown: list[Shown]) -> tuple[list[Shown], list[Shown]]:
        """Of several values of one unique namespace the first; and the others."""
        first: dict[str, Shown] = {}
        for one in shown:
            if one.key[0] in self._unique:
                first.setdefault(one.key[0], one)
        kept = [one for one in shown if first.get(one.key[0], one) is one]
        return kept, [one for one in shown if one not in kept]

    def _own(self, event: ValidEvent, session: SessionKey | None) -> Birth | None:
        own = self._known.sessions.get(session) if session else None
        if own is None and event.profile:
            # Created even where the identifiers already have an owner: the client keeps this id and will come back
            # with it.
            own = self._known.profiles.get(event.profile) or self._create(event.profile, event)
        return own

    def _create(self, id: str, event: ValidEvent) -> Birth:
        birth = self._known.profiles[id] = self.resolution.new_profiles[id] = Birth(id, event.received_at)
        return birth

    def _new_person(self, case: _Case) -> dict[str, Birth]:
        """The one whom the event names, unlike everybody that it leads to."""
        id = self._mint(*(part for pair in sorted(case.named.items()) for part in pair))
        return {id: self._known.profiles.get(id) or self._create(id, case.event)}

    def _contradiction(self, profile: str, named: dict[str, str]) -> str | None:
        """The unique namespace in which the profile has another value than the event shows."""
        values = self._known.values.get(profile)
        if not values:
            return None
        return next((name for name, value in named.items() if values.get(name) and value not in values[name]), None)

    def _ask_to_join(self, case: _Case, owner: Birth) -> None:
        others = sorted(case.candidates.keys() - {owner.id})
        if others:
            ties = [one for one in case.shown if one.key in case.owners and case.owners[one.key].id in case.candidates]
            ties = [one for one in ties if case.own is None or case.owners[one.key].id != case.own.id] or ties
            verified = any(one.verified and self._known.identifiers[one.key].seen.verified for one in ties)
            self._ask(case.event, [owner.id, *others], ties[0].key[0], verified)

    def _ask_what_is_refused(self, case: _Case, owner: Birth) -> None:
        """merge is the one that says no, and keeps the conflict for people to see."""
        for id in sorted(case.everybody.keys() - case.candidates.keys() - {owner.id}):
            tie = next((key[0] for key, birth in case.owners.items() if birth.id == id), None)
            contradicted = self._contradiction(id, case.named) or ""
            self._ask(case.event, [owner.id, id], tie or contradicted, contradicted=contradicted)

    def _ask(
        self,
        event: ValidEvent,
        profiles: list[str],
        namespace: str,
        verified: bool = False,
        contradicted: str = "",
    ) -> None:
        self.resolution.merges.append(
            MergeJob(
                profiles=profiles,
                cause="identifier",
                namespace=namespace,
                verified=verified,
                contradicted=contradicted,
                event=event.id,
                quiet=event.quiet,
            )
        )

    def _remember(self, event: ValidEvent, session: SessionKey | None, shown: list[Shown], owner: Birth) -> None:
        known = self._known
        if session and known.sessions.get(session) != owner:
            known.sessions[session] = owner
            self.resolution.sessions[session] = owner.id
        if session:
            self._visit(session, event)
        for key, verified in shown:
            at = event.received_at
            seen = Sighting(at, at.replace(minute=0, second=0, microsecond=0), verified)
            if key in known.identifiers:
                self._see_again(key, seen)
            elif self._may_link(key, owner.id):
                known.identifiers[key] = Stored(owner, seen)
                known.values.setdefault(owner.id, {}).setdefault(key[0], set()).add(key[1])
                self.resolution.links[key] = Link(owner.id, event, seen)
            else:
                self.resolution.refused.append(Refused(key, owner.id, event))

    def _visit(self, session: SessionKey, event: ValidEvent) -> None:
        at = event.occurred_at
        visit = Visit(at, at.replace(second=0, microsecond=0), at if event.type == VISIT_ENDED else None)
        known = self._known.visits.get(session)
        now = known.also(visit) if known else visit
        if now != known:
            self._known.visits[session] = self.resolution.visits[session] = now

    def _see_again(self, key: IdentifierKey, seen: Sighting) -> None:
        stored = self._known.identifiers[key]
        now = stored.seen.also(seen)
        if now != stored.seen:
            self._known.identifiers[key] = Stored(stored.owner, now)
            if link := self.resolution.links.get(key):
                self.resolution.links[key] = msgspec.structs.replace(link, seen=now)
            else:
                self.resolution.seen[key] = now

    def _may_link(self, key: IdentifierKey, owner: str) -> bool:
        values = self._known.values.get(owner, {})
        if len(values.get(key[0], ())) >= self._definitions.namespace(key[0]).max_per_profile:
            return False
        return sum(map(len, values.values())) < self._definitions.guards.max_identifiers
