"""Identity resolution of a batch: from sessions, client ids and identifiers to profiles, links and merge requests.

Pure. identify reads what PostgreSQL knows about the batch, asks here, and writes what this says.
"""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Protocol

import msgspec

from schemas.events import ValidEvent
from schemas.profiles import MergeJob
from workflows.definitions import Definitions
from workflows.identification import IdentifierKey, Shown
from workflows.known import Birth, Known, SessionKey, Sighting, Stored, Visit
from workflows.ties import Case, Ties, contradiction, refusals

#: The event type that says that a visit is over.
VISIT_ENDED = "visit-ended"
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)


class Link(msgspec.Struct, frozen=True):
    """An identifier that is new, whose it is now, and the event that showed it."""

    profile: str
    event: ValidEvent
    seen: Sighting
    #: A person has one value in its namespace.
    sole: bool = False


class Refused(msgspec.Struct, frozen=True):
    """An identifier that was not linked: its person has as many as a person may have, or another where one is all."""

    key: IdentifierKey
    profile: str
    event: ValidEvent
    reason: str = "too_many_identifiers"


class Resolution(msgspec.Struct):
    """What to write: whose each event is, profiles to create, sessions and identifiers to link, merges to ask for."""

    owners: list[str | None]
    #: The events as the people they are of let them be; None for those that may not come in.
    events: list[ValidEvent | None]
    new_profiles: dict[str, Birth]
    sessions: dict[SessionKey, str]
    #: Sessions, stored or new, of whose visit something is new.
    visits: dict[SessionKey, Visit]
    links: dict[IdentifierKey, Link]
    #: Stored identifiers that were seen earlier or later than was known, or verified now.
    seen: dict[IdentifierKey, Sighting]
    merges: list[MergeJob]
    #: (one, other): profiles that a merge job asks to make one.
    joins: list[tuple[str, str]]
    refused: list[Refused]


Found = list[tuple[ValidEvent, list[Shown]]]
Mint = Callable[..., str]


class Judge(Protocol):
    """What people have agreed to decides about their events."""

    def judge(self, event: ValidEvent, people: Collection[str]) -> ValidEvent | None:
        """The event without what these people, who are one, have not agreed to; None where it may not come in."""
        ...

    def hear(self, profile: str, event: ValidEvent, only_refusals: bool) -> None:
        """What the event says about consents, or refuses, this profile says."""
        ...

    def must_be_remembered(self, event: ValidEvent) -> bool:
        """Whether the event says what would be forgotten with it, though it may not come in."""
        ...


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


def resolve(
    found: Found,
    known: Known,
    definitions: Definitions,
    mint: Mint,
    judge: Judge | None = None,
    shown_by: Callable[[ValidEvent], list[Shown]] = lambda event: [],
) -> Resolution:
    """Say whose each event is, in order, each seeing what the ones before it led to.

    Candidates: the session's profile, else the one the door named; and the owners of the event's identifiers. None
    that has another value in a unique namespace than the event shows: that is somebody else (who used the same browser,
    or shares an e-mail). The event goes to the oldest candidate, without any to a new profile, whose id `mint` makes of
    what it shows. For each candidate beside the owner a merge job says why; for each who was ruled out, one that merge
    refuses and reports.

    Where consents matter, `judge` says what of the event its candidates, taken as one, have agreed to; where that takes
    something away, `shown_by` says what the rest still shows, and whom that leads to is asked anew.
    """
    resolver = _Resolver(known, definitions, mint, judge, shown_by)
    for event, shown in found:
        resolver.add(event, shown)
    return resolver.resolution


class _Resolver:
    def __init__(
        self,
        known: Known,
        definitions: Definitions,
        mint: Mint,
        judge: Judge | None,
        shown_by: Callable[[ValidEvent], list[Shown]],
    ) -> None:
        self._known, self._definitions, self._mint = known, definitions, mint
        self._judge, self._shown_by = judge, shown_by
        self._unique = frozenset(definitions.unique_namespaces())
        self._ties = Ties(definitions, known.identifiers)
        self.resolution = Resolution([], [], {}, {}, {}, {}, {}, [], [], [])

    def add(self, event: ValidEvent, shown: list[Shown]) -> None:
        case = self._case(event, shown)
        judged = self._judged(case)
        if judged is None:
            owner = self._keep_out(case)
        else:
            case, owner = judged, self._let_in(judged)
        self.resolution.owners.append(owner)
        self.resolution.events.append(None if judged is None else case.event)

    def _case(self, event: ValidEvent, shown: list[Shown]) -> Case:
        own, identifiers = self._own(event), self._known.identifiers
        if not shown:
            return Case(event, shown, {}, own, {}, {own.id: own} if own else {})
        kept = self._one_each(shown)
        case = Case(
            event,
            shown,
            {one.key[0]: one.key[1] for one in kept if one.key[0] in self._unique},
            own,
            {one.key: identifiers[one.key].owner for one in kept if one.key in identifiers},
        )
        everybody, values = case.everybody, self._known.values
        case.candidates = {id: b for id, b in everybody.items() if contradiction(values.get(id), case.named) is None}
        if everybody and not case.candidates:
            new = self._new_person(case)
            case.candidates = {new.id: new}
        if self._known.apart:
            case.candidates = self._not_parted(case)
        return case

    def _not_parted(self, case: Case) -> dict[str, Birth]:
        """Without those whom an operator has parted from another: a login names somebody, else it is the session's."""
        kept: dict[str, Birth] = {}
        named = {case.owners[one.key].id for one in case.shown if one.key in case.owners and self._ties.is_strong(one)}
        first = [named, {case.own.id} if case.own else set()]
        order = sorted(
            case.candidates.values(), key=lambda birth: ([birth.id not in ids for ids in first], birth.seniority)
        )
        for birth in order:
            if kept.keys().isdisjoint(self._known.apart.get(birth.id, ())):
                kept[birth.id] = birth
        return kept

    def _judged(self, case: Case) -> Case | None:
        """What is left of the event, and whom that leads to; None where it may not come in."""
        while self._judge is not None:
            allowed = self._judge.judge(case.event, case.candidates)
            if allowed is None:
                return None
            if allowed is case.event:
                break
            less = self._case(allowed, self._shown_by(allowed))
            settled = less.candidates.keys() == case.candidates.keys()
            case = less
            if settled:
                break
        return case

    def _let_in(self, case: Case) -> str | None:
        if not case.candidates:
            return None
        owner = min(case.candidates.values(), key=lambda birth: birth.seniority)
        for birth in (*case.everybody.values(), owner) if case.owners else (owner,):
            self._create(birth)
        if case.shown:
            self._ask(case, owner)
        self._remember(case, owner)
        self._hear(case, owner)
        return owner.id

    def _hear(self, case: Case, granting: Birth | None) -> None:
        """A no is everybody's whom the event leads to; a yes the one's who gave it."""
        if self._judge is not None:
            for id in case.candidates:
                if id not in self._known.new:
                    self._judge.hear(id, case.event, granting is None or id != granting.id)

    def _keep_out(self, case: Case) -> str | None:
        """What was dropped says about consents counts all the same, for who is known: nobody is tied to anybody by it.
        Of strangers nothing is kept but a no where saying nothing would be a yes."""
        if self._judge is None or not case.candidates:
            return None
        own = case.own
        if own is not None and own.id in self._known.new and self._judge.must_be_remembered(case.event):
            self._create(own)
            self._enter(case.event, own)
        self._hear(case, own if own is not None and own.id in case.candidates else None)
        return None

    def _one_each(self, shown: list[Shown]) -> list[Shown]:
        """Of several values of one unique namespace the first."""
        first: dict[str, Shown] = {}
        return [one for one in shown if one.key[0] not in self._unique or first.setdefault(one.key[0], one) is one]

    def _own(self, event: ValidEvent) -> Birth | None:
        """The session's profile; else the one that the door named, created even where the identifiers already have an
        owner: the client keeps this id and will come back with it."""
        own = self._known.sessions.get((event.source, event.session)) if event.session else None
        if own is None and event.profile:
            own = self._known.profiles.get(event.profile) or self._newborn(event.profile, event)
        return own

    def _new_person(self, case: Case) -> Birth:
        """The one whom the event names, unlike everybody that it leads to."""
        id = self._mint(*(part for pair in sorted(case.named.items()) for part in pair))
        return self._known.profiles.get(id) or self._newborn(id, case.event)

    def _newborn(self, id: str, event: ValidEvent) -> Birth:
        """Who will be created if the event may come in."""
        birth = self._known.new[id] = Birth(id, event.received_at)
        return birth

    def _create(self, birth: Birth) -> None:
        if self._known.new.pop(birth.id, None) is not None:
            self._known.profiles[birth.id] = self.resolution.new_profiles[birth.id] = birth

    def _ask(self, case: Case, owner: Birth) -> None:
        jobs, values = self._ties.jobs(case, owner), self._known.values
        # Until merge has answered, whoever comes as one of them comes as all of them; but not where it will say no.
        ids = [owner.id, *(job.profiles[1] for job in jobs if self._will_join(job))]
        if len(ids) > 1:
            united: dict[str, set[str]] = {}
            for id in ids:
                for namespace, some in values.get(id, {}).items():
                    united.setdefault(namespace, set()).update(some)
            values.update(dict.fromkeys(ids, united))
            self.resolution.joins += [(owner.id, other) for other in ids[1:]]
        self.resolution.merges += jobs
        self.resolution.merges += refusals(case, owner, values)

    def _will_join(self, job: MergeJob) -> bool:
        """Whether merge's guards will let these two become one, as far as is known here."""
        one, other = (
            {name: values for name, values in self._known.values.get(id, {}).items() if name in self._unique and values}
            for id in job.profiles
        )
        if any(one[name] != other[name] for name in one.keys() & other.keys()):
            return False
        tie = self._definitions.namespace(job.namespace)
        return not (one and other and one != other) or tie.unique or tie.joins_identified or job.verified

    def _remember(self, case: Case, owner: Birth) -> None:
        known, event = self._known, case.event
        self._enter(event, owner)
        kept = self._one_each(case.shown) if case.shown else []
        for one in kept:
            if one.key in known.identifiers:
                self._see_again(one, event)
            elif self._may_link(one.key, owner.id):
                known.identifiers[one.key] = Stored(owner, _sighting(one, event))
                known.values.setdefault(owner.id, {}).setdefault(one.key[0], set()).add(one.key[1])
                sole = one.key[0] in self._unique
                self.resolution.links[one.key] = Link(owner.id, event, known.identifiers[one.key].seen, sole)
            else:
                self.resolution.refused.append(Refused(one.key, owner.id, event))
        if len(kept) < len(case.shown):
            second = [one for one in case.shown if one not in kept]
            self.resolution.refused += [Refused(one.key, owner.id, event, "unique") for one in second]

    def _enter(self, event: ValidEvent, owner: Birth) -> None:
        """The event's session, if it has one, is the owner's."""
        if event.session is None:
            return
        session = event.source, event.session
        known = self._known.sessions.get(session)
        if known is None or known.id != owner.id:
            self._known.sessions[session] = owner
            self.resolution.sessions[session] = owner.id
        self._visit(session, event)

    def _visit(self, session: SessionKey, event: ValidEvent) -> None:
        at, known, ended = event.occurred_at, self._known.visits.get(session), event.type == VISIT_ENDED
        if known is not None and not ended and known.started <= at < known.last + _MINUTE:
            return  # nearly all
        visit = Visit(at, at.replace(second=0, microsecond=0), at if ended else None)
        now = known.also(visit) if known else visit
        if now != known:
            self._known.visits[session] = self.resolution.visits[session] = now

    def _see_again(self, one: Shown, event: ValidEvent) -> None:
        stored = self._known.identifiers[one.key]
        seen, at = stored.seen, event.received_at
        if seen.first <= at < seen.last + _HOUR and (seen.verified or not one.verified):
            return
        now = seen.also(_sighting(one, event))
        if now != seen:
            self._known.identifiers[one.key] = Stored(stored.owner, now)
            if link := self.resolution.links.get(one.key):
                self.resolution.links[one.key] = msgspec.structs.replace(link, seen=now)
            else:
                self.resolution.seen[one.key] = now

    def _may_link(self, key: IdentifierKey, owner: str) -> bool:
        values = self._known.values.get(owner, {})
        if len(values.get(key[0], ())) >= self._definitions.namespace(key[0]).max_per_profile:
            return False
        return sum(map(len, values.values())) < self._definitions.guards.max_identifiers


def _sighting(one: Shown, event: ValidEvent) -> Sighting:
    at = event.received_at
    return Sighting(at, at.replace(minute=0, second=0, microsecond=0), one.verified)
