"""What each destination is owed by a profile change."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

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
        self.enabled = definition.enabled
        self.condition = Condition(definition.condition) if definition.condition else None
        self.mapping = {name: Condition(source) for name, source in definition.mapping.items()}


def owed(change: ProfileChange, destinations: Iterable[CompiledDestination]) -> list[Delivery]:
    """The deliveries for one change: where the condition holds, and wherever workflows sent something."""
    plain = msgspec.to_builtins(change, builtin_types=(Decimal,))
    context = Context(
        {
            "profile": lambda: profile_variables(
                change.profile, change.traits, change.totals, change.counters, change.segments
            ),
            "change": lambda: (
                {name: getattr(change, name) for name in _OF_CHANGE} | {"merged_into": change.merged_into or ""}
            ),
        }
    )
    found = []
    for destination in destinations:
        if not destination.enabled:
            continue
        if destination.condition is None or destination.condition.holds(context):
            found.append(_delivery(change, destination, context, plain))
        found.extend(
            Delivery(
                id=send.id,
                destination=destination.id,
                profile=change.merged_into or change.profile,
                version=change.version,
                body={"event": send.event_type, "properties": send.properties, **_body(destination, context, plain)},
            )
            for send in change.sends
            if send.destination == destination.id
        )
    return found


def _delivery(
    change: ProfileChange, destination: CompiledDestination, context: Context, plain: dict[str, Any]
) -> Delivery:
    return Delivery(
        id=derived_id("delivery", destination.id, change.profile, change.version),
        destination=destination.id,
        profile=change.profile,
        version=change.version,
        body=_body(destination, context, plain),
    )


def _body(destination: CompiledDestination, context: Context, plain: dict[str, Any]) -> dict[str, Any]:
    if not destination.mapping:
        return {name: value for name, value in plain.items() if name != "sends"}
    return {name: expression.value(context) for name, expression in destination.mapping.items()}
