"""What an event adds to what is known of whom it is of: a session, its visit, identifiers and when they were seen."""

from datetime import timedelta

import msgspec

from schemas.events import ValidEvent
from workflows.definitions import Definitions
from workflows.identification import IdentifierKey, Shown
from workflows.known import Birth, Known, SessionKey, Sighting, Stored, Visit
from workflows.resolution import Link, Refused, Resolution

#: The event type that says that a visit is over.
VISIT_ENDED = "visit-ended"
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)


class Remembering:
    """Notes in the resolution what is new, and in what is known too: the batch goes on."""

    def __init__(self, known: Known, definitions: Definitions, resolution: Resolution) -> None:
        self._known, self._definitions, self.resolution = known, definitions, resolution
        self._unique = frozenset(definitions.unique_namespaces())

    def identifiers(self, event: ValidEvent, shown: list[Shown], owner: Birth) -> None:
        """What the event shows is the owner's, as far as guards let it."""
        known, kept = self._known, self.one_each(shown)
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
        if len(kept) < len(shown):
            second = [one for one in shown if one not in kept]
            self.resolution.refused += [Refused(one.key, owner.id, event, "unique") for one in second]

    def session(self, event: ValidEvent, owner: Birth) -> None:
        """The event's session, if it has one that is kept, is the owner's."""
        if event.session is None or not event.save_session:
            return
        session = event.source, event.session
        known = self._known.sessions.get(session)
        if known is None:
            self.resolution.first_of_sessions.append(event)
            self._watch(session, event)
        if known is None or known.id != owner.id:
            if known is not None:
                less = self.resolution.visited_less
                less[known.id] = less.get(known.id, True) and event.quiet
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

    def _watch(self, session: SessionKey, event: ValidEvent) -> None:
        source = self._definitions.sources.get(event.source)
        if source is not None and VISIT_ENDED in source.system_events and not event.quiet:
            self.resolution.timers[session] = timedelta(minutes=source.session_idle_minutes)

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

    def one_each(self, shown: list[Shown]) -> list[Shown]:
        """Of several values of one unique namespace the first."""
        first: dict[str, Shown] = {}
        return [one for one in shown if one.key[0] not in self._unique or first.setdefault(one.key[0], one) is one]


def _sighting(one: Shown, event: ValidEvent) -> Sighting:
    at = event.received_at
    return Sighting(at, at.replace(minute=0, second=0, microsecond=0), one.verified)
