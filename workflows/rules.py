"""Which workflows an event gets."""

import msgspec

from schemas.events import AcceptedEvent
from workflows.actions.action import event_variables
from workflows.conditions import Context
from workflows.definitions import Definitions


def choose_workflows(event: AcceptedEvent, definitions: Definitions) -> tuple[list[str], list[tuple[str, str]]]:
    """The workflows that rules want for the event, each once, in the rules' order; and conditions without a value."""
    rules = definitions.rules.get(event.type)
    if not rules:
        return [], []
    context = Context(
        {
            "event": lambda: event_variables(event, lambda: msgspec.json.decode(event.properties)),
            "profile": lambda: {"id": event.profile or "", "counters": event.counters},
        }
    )
    chosen: dict[str, None] = {}
    for rule in rules:
        if rule.source not in (None, event.source):
            continue
        if rule.condition is None or rule.condition.holds(context):
            chosen.update(dict.fromkeys(rule.workflows))
    return list(chosen), context.errors
