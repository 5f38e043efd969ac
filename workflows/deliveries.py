"""What each destination is owed by a profile change."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from schemas.definitions.outbound import Destination
from schemas.origin import derived_id
from schemas.profiles import Delivery, ProfileChange
from workflows.conditions import Condition, Context
from workflows.segments import profile_variables

#: What conditions see of a change, beside the survivor of a merge.
_OF_CHANGE = ("version", "changed", "entered", "left", "absorbed")


class CompiledDestination:
    """A destination with its condition and mapping compiled. Raises ConditionError."""

    def __init__(self, definition: Destination) -> None:
        self.id = definition.id
        self.enabled, self.consents, self.private = definition.enabled, definition.consents, definition.private
        self.on_change = definition.on_change
        self.condition = Condition(definition.condition) if definition.condition else None
        self.mapping = {name: Condition(source) for name, source in definition.mapping.items()}

    def may_have(self, change: ProfileChange) -> bool:
        """Whether the person has agreed to it. The last change of a profile that became part of another says nothing
        but that, and whoever had the profile must hear it."""
        return change.merged_into is not None or self.has_consent(change)

    def wants(self, change: ProfileChange) -> bool:
        """Whether any of the fields that it waits for has changed. That a profile is no more concerns everybody, and
        that it is again: who was told that it is gone must not believe so for ever."""
        if not self.on_change or change.merged_into is not None or "unmerged" in change.changed:
            return True
        return any(field == one or field.startswith(f"{one}.") for one in self.on_change for field in change.changed)

    def has_consent(self, change: ProfileChange) -> bool:
        """Whether the person has given every consent that this destination needs."""
        return all(change.consents.get(consent) is True for consent in self.consents)


class _Seen:
    """A change as one kind of destination may see it: with private traits, or without."""

    def __init__(self, change: ProfileChange, private: bool) -> None:
        traits = {**change.traits, **change.private} if private else change.traits
        self._plain: dict[str, Any] = msgspec.to_builtins(change, builtin_types=(Decimal,))
        self._plain.pop("sends", None)
        self._plain.pop("private", None)
        self._plain.pop("survivor", None)
        hidden = set() if private else {f"traits.{name}" for name in change.private}
        if hidden:
            self._plain["changed"] = [name for name in change.changed if name not in hidden]
        if traits:
            self._plain["traits"] = traits
        self.context = Context(
            {
                "profile": lambda: profile_variables(
                    change.profile,
                    traits,
                    change.totals,
                    change.counters,
                    change.segments,
                    change.consents,
                    change.windows,
                    change.visits,
                ),
                "change": lambda: {
                    **{name: getattr(change, name) for name in _OF_CHANGE},
                    "changed": [name for name in change.changed if name not in hidden],
                    "merged_into": change.merged_into or "",
                },
            }
        )

    def body(self, destination: CompiledDestination) -> dict[str, Any]:
        if not destination.mapping:
            return self._plain
        return {name: expression.value(self.context) for name, expression in destination.mapping.items()}


class _Views(NamedTuple):
    """A change without private traits, and with them."""

    public: _Seen
    whole: _Seen

    def body(self, destination: CompiledDestination) -> dict[str, Any]:
        return (self.whole if destination.private else self.public).body(destination)


def _views(change: ProfileChange) -> _Views:
    whole = _Seen(change, True)
    return _Views(_Seen(change, False) if change.private else whole, whole)


def owed(change: ProfileChange, destinations: Iterable[CompiledDestination]) -> list[Delivery]:
    """The deliveries for one change. That a person was erased, everybody hears; else it goes where the condition holds,
    and wherever workflows sent something; nothing to where the person has not agreed to. Conditions see private traits;
    what is sent has them only where that is asked for."""
    sent_for = change.survivor or change
    views = _views(change)
    sent_views = views if sent_for is change else _views(sent_for)
    found = []
    for destination in destinations:
        if not destination.enabled:
            continue
        if change.erased:
            found.append(erased(change, destination.id))
            continue
        if not destination.may_have(change):
            continue
        condition = destination.condition
        if destination.wants(change) and (condition is None or condition.holds(views.whole.context)):
            found.append(_delivery(change, destination.id, views.body(destination)))
        found.extend(
            Delivery(
                id=send.id,
                destination=destination.id,
                profile=change.merged_into or change.profile,
                version=sent_for.version,
                body={"event": send.event_type, "properties": send.properties, **sent_views.body(destination)},
                cause="send",
            )
            for send in change.sends
            if send.destination == destination.id and destination.has_consent(sent_for)
        )
    return found


def erased(change: ProfileChange, destination: str) -> Delivery:
    """That the person was erased, and nothing else of them."""
    body = {"profile": change.profile, "version": change.version, "at": change.at, "erased": True}
    return _delivery(change, destination, msgspec.to_builtins(body))


def _delivery(change: ProfileChange, destination: str, body: dict[str, Any]) -> Delivery:
    return Delivery(
        id=derived_id("delivery", destination, change.profile, change.version),
        destination=destination,
        profile=change.profile,
        version=change.version,
        body=body,
        gone=change.erased or change.merged_into is not None,
        merged_into=None if change.erased else change.merged_into,
    )
