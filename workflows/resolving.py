"""Identity resolution of a batch: from sessions, client ids and identifiers to profiles, links and merge requests.

Pure. identify reads what PostgreSQL knows about the batch, asks here, and writes what this says.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from schemas.events import ValidEvent
from schemas.profiles import MergeJob
from workflows.definitions import Definitions
from workflows.identification import Shown
from workflows.known import Birth, Known
from workflows.remembering import Remembering
from workflows.resolution import Resolution
from workflows.ties import Case, Ties, contradiction, refusals

Found = Sequence[tuple[ValidEvent, list[Shown]]]
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
        self.resolution = Resolution([], [], {}, {}, {}, {}, {}, {}, {}, [], [], [], [], [])
        self._remembering = Remembering(known, definitions, self.resolution)
        #: Of each pair once a batch: somebody in another's browser would ask merge for the same with every event.
        self._refused: set[tuple[str, ...]] = set()

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
        kept = self._remembering.one_each(shown)
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
        owner = _oldest(case.candidates)
        for birth in (*case.everybody.values(), owner) if case.owners else (owner,):
            self._create(birth, case.event)
        if case.shown:
            self._ask(case, owner)
        self._remembering.session(case.event, owner)
        if case.shown:
            self._remembering.identifiers(case.event, case.shown, owner)
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
            self._create(own, case.event)
            self._remembering.session(case.event, own)
        self._hear(case, own if own is not None and own.id in case.candidates else None)
        return None

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

    def _create(self, birth: Birth, event: ValidEvent) -> None:
        if self._known.new.pop(birth.id, None) is not None:
            self._known.profiles[birth.id] = self.resolution.new_profiles[birth.id] = birth
            self.resolution.first_of_profiles.append((birth.id, event))

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
        for refusal in refusals(case, owner, values):
            said = *refusal.profiles, refusal.namespace, refusal.contradicted
            if said not in self._refused:
                self._refused.add(said)
                self.resolution.merges.append(refusal)

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


def _oldest(candidates: dict[str, Birth]) -> Birth:
    if len(candidates) == 1:  # nearly always
        return next(iter(candidates.values()))
    return min(candidates.values(), key=lambda birth: birth.seniority)
