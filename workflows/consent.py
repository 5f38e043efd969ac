"""Consents: who said what, what holds, and what is done to events for which one is missing.

Pure. It never fails open: what nobody granted is missing, and what is no clear yes is a no.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from schemas.definitions.consent import Protected
from schemas.events import ValidEvent
from schemas.origin import Origin
from schemas.profiles import SegmentationJob
from workflows.definitions import Definitions
from workflows.identifiers import HASHED, is_hashed
from workflows.known import Known

#: The event type that says what a person agrees to, in its property `consents`. Any other may in its context.
CONSENT_UPDATE = "consent-update"


class Statement(msgspec.Struct, frozen=True):
    """A person's yes or no, when it was said, and by which event."""

    granted: bool
    at: datetime
    event: str

    @property
    def stamp(self) -> tuple[datetime, str]:
        """The later counts."""
        return self.at, self.event


#: Consent to what was said of it last.
Statements = dict[str, Statement]


def stated_by(event: ValidEvent, definitions: Definitions) -> Statements:
    """What the event says about consents that are defined."""
    found: dict[str, Any] = {}
    for part, applies in ((event.context, True), (event.properties, event.type == CONSENT_UPDATE)):
        if applies and b'"consents"' in bytes(part):
            said = msgspec.json.decode(part).get("consents")
            found |= said if isinstance(said, dict) else {}
    return {
        consent: Statement(value is True or value == "granted", event.occurred_at, event.id)
        for consent, value in found.items()
        if consent in definitions.consents
    }


def holds(consent: str, statements: Mapping[str, Statement], now: datetime, definitions: Definitions) -> bool:
    """Whether a person has given a consent."""
    definition = definitions.consents.get(consent)
    if definition is None:
        return False
    statement = statements.get(consent)
    if statement is None:
        return definition.default == "grant"
    ends = definition.expires_days and statement.at + timedelta(days=definition.expires_days)
    return statement.granted and (not ends or now < ends)


def given(statements: Mapping[str, Statement], now: datetime, definitions: Definitions) -> dict[str, bool]:
    """Each consent that is defined, and whether it holds."""
    return {consent: holds(consent, statements, now, definitions) for consent in sorted(definitions.consents)}


def next_end(statements: Mapping[str, Statement], now: datetime, definitions: Definitions) -> datetime | None:
    """When the next consent that is given ends by itself."""
    ends = [
        statement.at + timedelta(days=definition.expires_days)
        for consent, statement in statements.items()
        if statement.granted and (definition := definitions.consents.get(consent)) and definition.expires_days
    ]
    return min((end for end in ends if end > now), default=None)


class ConsentBook:
    """What the people of a batch have said, as the batch goes on."""

    def __init__(
        self, said: Mapping[str, Statements], definitions: Definitions, hide: Callable[[str, str], str]
    ) -> None:
        """`said`: live profile to what is stored. `hide` makes keyed hashes."""
        self._said = {profile: dict(statements) for profile, statements in said.items()}
        self.definitions, self._hide = definitions, hide
        #: (profile, consent) to what is to be stored.
        self.news: dict[tuple[str, str], Statement] = {}

    def hear(self, profile: str, event: ValidEvent) -> Statements:
        """Take in what the event says for this profile; what of it was new."""
        known = self._said.setdefault(profile, {})
        new = {
            consent: statement
            for consent, statement in stated_by(event, self.definitions).items()
            if consent not in known or known[consent].stamp < statement.stamp
        }
        known.update(new)
        return new

    def write(self, profile: str, statements: Statements) -> None:
        """These are to be stored for the profile."""
        for consent, statement in statements.items():
            known = self.news.get((profile, consent))
            if known is None or known.stamp < statement.stamp:
                self.news[profile, consent] = statement

    def lets_in(self, profile: str, event: ValidEvent) -> bool:
        """Whether the event's source may send anything of this person."""
        source = self.definitions.sources.get(event.source)
        return source is None or self._all(source.requires_consent, profile, event)

    def comply(self, profile: str, event: ValidEvent) -> ValidEvent:
        """The event without what this person has not agreed to."""
        lacking = [
            one
            for rule in self.definitions.compliance
            if rule.event_type in (None, event.type) and rule.source in (None, event.source)
            for one in rule.protected
            if one.otherwise != "keep" and not self._all(one.consents, profile, event)
        ]
        properties = self._without(event.properties, [(one.path, one) for one in lacking if one.path])
        context = self._without(event.context, [(one.context, one) for one in lacking if one.context])
        return msgspec.structs.replace(event, properties=properties, context=context) if lacking else event

    def _all(self, consents: Iterable[str], profile: str, event: ValidEvent) -> bool:
        statements = self._said.get(profile, {})
        return all(holds(consent, statements, event.received_at, self.definitions) for consent in consents)

    def _without(self, part: msgspec.Raw, lacking: list[tuple[str, Protected]]) -> msgspec.Raw:
        if not lacking:
            return part
        value = msgspec.json.decode(part)
        for path, protected in lacking:
            *above, last = path.split(".")
            holder = value
            for name in above:
                holder = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(holder, dict) and last in holder:
                taken = holder.pop(last)
                if protected.otherwise == "hash":
                    holder[last] = taken if is_hashed(taken) else self._hashed(path, taken)
        return msgspec.Raw(msgspec.json.encode(value))

    def _hashed(self, path: str, value: Any) -> str:
        return HASHED + self._hide(f"property {path}", msgspec.json.encode(value, order="sorted").decode())


class Governed:
    """A batch of events under what people have agreed to: at first as the session's, or the client's, then as whoever
    the event turned out to be."""

    def __init__(self, book: ConsentBook, known: Known, governs: bool) -> None:
        """`governs`: consents matter at all."""
        self._book, self._known, self._governs = book, known, governs
        self.dropped: list[ValidEvent] = []
        self._subjects: dict[Origin, str] = {}
        self._unsettled: list[tuple[ValidEvent, Statements]] = []
        self._quiet: dict[str, bool] = {}

    @property
    def news(self) -> dict[tuple[str, str], Statement]:
        """(profile, consent) to what is to be stored."""
        return self._book.news

    def let_in(self, events: Iterable[ValidEvent]) -> list[ValidEvent]:
        """Those that may come in, without what they may not hold. What the dropped ones say about consents counts."""
        if not self._governs:
            return list(events)
        found = []
        for event in events:
            subject = self._subjects[event.origin] = self._subject(event)
            new = self._book.hear(subject, event)
            if self._book.lets_in(subject, event):
                found.append(self._book.comply(subject, event))
            else:
                self.dropped.append(event)
                self._unsettled.append((event, new))
        return found

    def settle(self, event: ValidEvent, owner: str | None) -> ValidEvent:
        """The event of whom it turned out to be, who may have agreed to less; what it says counts for that one."""
        if not self._governs or owner is None:
            return event
        self._write(owner, stated_by(event, self._book.definitions), event)
        if owner == self._subjects[event.origin]:
            return event
        self._book.hear(owner, event)
        return self._book.comply(owner, event)

    def settle_dropped(self) -> None:
        """What dropped events said counts too, for who is known by now; of strangers nothing is kept."""
        everybody = self._known.everybody() if self._unsettled else set()
        for event, new in self._unsettled:
            if (subject := self._subject(event)) in everybody:
                self._write(subject, new, event)

    def jobs(self) -> list[SegmentationJob]:
        """For each profile that said something new."""
        changed: dict[str, list[str]] = {}
        for profile, consent in sorted(self.news):
            changed.setdefault(profile, []).append(f"consents.{consent}")
        return [
            SegmentationJob(profile=profile, changed=names, quiet=self._quiet[profile])
            for profile, names in changed.items()
        ]

    def _write(self, profile: str, statements: Statements, event: ValidEvent) -> None:
        if statements:
            self._book.write(profile, statements)
            self._quiet[profile] = self._quiet.get(profile, True) and event.quiet

    def _subject(self, event: ValidEvent) -> str:
        """Whose event it is as far as the client knows: its session's, or the one that it names; else its own."""
        known = self._known
        if event.profile is None:  # nobody's
            return event.id
        birth = known.sessions.get((event.source, event.session or "")) or known.profiles.get(event.profile or "")
        return birth.id if birth else event.profile or event.session or event.id
