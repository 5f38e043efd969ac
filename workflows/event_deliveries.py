"""What destinations that want events are owed for one: routes of event types to topics, webhooks and tables."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from schemas.definitions.outbound import Destination
from schemas.events import AcceptedEvent
from schemas.origin import derived_id
from schemas.profiles import Delivery, ProfileChange
from workflows.actions.action import event_variables
from workflows.conditions import Condition, Context
from workflows.deliveries import erased
from workflows.wildcards import matches


class EventDestination:
    """A destination of events with its condition and mapping compiled. Raises ConditionError."""

    def __init__(self, definition: Destination) -> None:
        self.id, self.types, self.source = definition.id, definition.events, definition.source
        self.enabled, self.consents = definition.enabled, definition.consents
        self.condition = Condition(definition.condition) if definition.condition else None
        self.mapping = {name: Condition(source) for name, source in definition.mapping.items()}

    def takes(self, event: AcceptedEvent) -> bool:
        """Whether it is about such events, and the person has agreed."""
        return (
            self.enabled
            and self.source in (None, event.source)
            and matches(self.types, event.type)
            and all(event.consents.get(consent) is True for consent in self.consents)
        )


def told_of_erasing(change: ProfileChange, destinations: Iterable[EventDestination]) -> Iterator[Delivery]:
    """That somebody was erased, destinations that had their events hear too."""
    for destination in destinations:
        if change.erased and destination.enabled:
            yield erased(change, destination.id)


def owed_for(event: AcceptedEvent, destinations: Iterable[EventDestination]) -> Iterator[Delivery]:
    """The deliveries for an event; none for one that is replayed without effects."""
    context: Context | None = None
    for destination in destinations:
        if event.quiet or not destination.takes(event):
            continue
        context = context or _context(event)
        if destination.condition is None or destination.condition.holds(context):
            yield Delivery(
                id=derived_id("event", destination.id, event.source, event.id),
                destination=destination.id,
                profile=event.profile or event.session or event.id,
                version=0,
                body=_body(event, destination, context),
                cause="event",
            )


def _body(event: AcceptedEvent, destination: EventDestination, context: Context) -> dict[str, Any]:
    if destination.mapping:
        return {name: expression.value(context) for name, expression in destination.mapping.items()}
    return {
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "session": event.session,
        "profile": event.profile,
        "time": event.occurred_at,
        "received_at": event.received_at,
        "properties": event.properties,
        "context": event.context,
    }


def _context(event: AcceptedEvent) -> Context:
    return Context(
        {
            "event": lambda: event_variables(event, lambda: msgspec.json.decode(event.properties)),
            "profile": lambda: {"id": event.profile or "", "counters": event.counters, "consents": event.consents},
        }
    )
