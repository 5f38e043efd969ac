"""Consents: who said what, what holds, and what is done to events for which one is missing.

Pure. It never fails open: what nobody granted is missing, and what is no clear yes is a no.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from schemas.definitions.consent import CONSENT_UPDATE, Protected
from schemas.events import ValidEvent
from schemas.origin import Origin
from schemas.profiles import SegmentationJob
from workflows.definitions import Definitions
from workflows.identifiers import HASHED, is_hashed, may_hold


class Statement(msgspec.Struct, frozen=True):
    """A person's yes or no, when it was said, and by which event."""

    granted: bool
    at: datetime
    event: str

    @property
    def stamp(self) -> tuple[datetime, bool, str]:
        """The later counts; of two at one time, a no."""
        return self.at, not self.granted, self.event


#: Consent to what was said of it last.
Statements = dict[str, Statement]


def stated_by(event: ValidEvent, definitions: Definitions) -> Statements:
    """What the event says about consents that are defined."""
    found: dict[str, Any] = {}
    for part, applies in ((event.context, True), (event.properties, event.type == CONSENT_UPDATE)):
        if applies and may_hold(part, "consents"):
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
        self._definitions, self._hide = definitions, hide
        #: (profile, consent) to what is to be stored.
        self.news: dict[tuple[str, str], Statement] = {}
        self._quiet: dict[str, bool] = {}
        self._given: dict[Origin, dict[str, bool]] = {}

    def judge(self, event: ValidEvent, people: Collection[str]) -> ValidEvent | None:
        """The event without what these people, who are one, have not agreed to; None where its source may not send
        anything of them. Of what they said the stricter counts, as when they are merged; what the event says is newer,
        or not."""
        said = self._together(people)
        for consent, statement in stated_by(event, self._definitions).items():
            if consent not in said or said[consent].stamp < statement.stamp:
                said[consent] = statement
        self._given[event.origin] = given(said, event.received_at, self._definitions)
        source = self._definitions.sources.get(event.source)
        if source is not None and not self._all(source.requires_consent, said, event):
            return None
        return self._comply(event, said)

    def hear(self, profile: str, event: ValidEvent, only_refusals: bool = False) -> None:
        """Take in, and keep, what the event says (or refuses) for this profile, unless something later is known."""
        known = self._said.setdefault(profile, {})
        for consent, statement in stated_by(event, self._definitions).items():
            if only_refusals and statement.granted:
                continue
            if consent not in known or known[consent].stamp < statement.stamp:
                known[consent] = self.news[profile, consent] = statement
                self._quiet[profile] = self._quiet.get(profile, True) and event.quiet

    def given_at(self, event: ValidEvent) -> dict[str, bool]:
        """Which consents were given as the event, that was judged, had its turn."""
        return self._given.get(event.origin, {})

    def must_be_remembered(self, event: ValidEvent) -> bool:
        """Whether the event says no where whoever says nothing has agreed."""
        return any(
            not statement.granted and self._definitions.consents[consent].default == "grant"
            for consent, statement in stated_by(event, self._definitions).items()
        )

    def jobs(self) -> list[SegmentationJob]:
        """For each profile that said something new."""
        changed: dict[str, list[str]] = {}
        for profile, consent in sorted(self.news):
            changed.setdefault(profile, []).append(f"consents.{consent}")
        return [
            SegmentationJob(profile=profile, changed=names, quiet=self._quiet[profile])
            for profile, names in changed.items()
        ]

    def _together(self, people: Collection[str]) -> Statements:
        said: Statements = {}
        for profile in people:
            for consent, statement in self._said.get(profile, {}).items():
                known = said.get(consent)
                if known is None or _strictness(known) < _strictness(statement):
                    said[consent] = statement
        return said

    def _comply(self, event: ValidEvent, said: Statements) -> ValidEvent:
        lacking = [
            one
            for rule in self._definitions.compliance
            if rule.event_type in (None, event.type) and rule.source in (None, event.source)
            for one in rule.protected
            if one.otherwise != "keep" and not self._all(one.consents, said, event)
        ]
        properties = self._without(event.properties, [(one.path, one) for one in lacking if one.path])
        context = self._without(event.context, [(one.context, one) for one in lacking if one.context])
        return msgspec.structs.replace(event, properties=properties, context=context) if lacking else event

    def _all(self, consents: Iterable[str], said: Statements, event: ValidEvent) -> bool:
        return all(holds(consent, said, event.received_at, self._definitions) for consent in consents)

    def _without(self, part: msgspec.Raw, lacking: list[tuple[str, Protected]]) -> msgspec.Raw:
        if not lacking:
            return part
        value = msgspec.json.decode(part)
        for path, protected in lacking:
            *above, last = path.split(".")
            for holder in _holders(value, above):
                if last in holder:
                    taken = holder.pop(last)
                    if protected.otherwise == "hash":
                        holder[last] = taken if is_hashed(taken) else self._hashed(path, taken)
        return msgspec.Raw(msgspec.json.encode(value))

    def _hashed(self, path: str, value: Any) -> str:
        return HASHED + self._hide(f"property {path}", msgspec.json.encode(value, order="sorted").decode())


def _strictness(statement: Statement) -> tuple[bool, datetime, bool, str]:
    """Which of two counts, where two people are one: a no; else the later."""
    return not statement.granted, *statement.stamp


def _holders(value: Any, path: Collection[str]) -> list[dict[str, Any]]:
    """The objects at a path; of what lies in lists, each."""
    found = _objects(value)
    for name in path:
        found = [one for each in found if name in each for one in _objects(each[name])]
    return found


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [one for each in value for one in _objects(each)]
    return [value] if isinstance(value, dict) else []
