"""Which workflows an event gets, and why."""

from typing import Any

import msgspec

from schemas.events import AcceptedEvent
from workflows.actions.action import event_variables
from workflows.conditions import Condition, Context
from workflows.definitions import Definitions
from workflows.identifiers import value_at
from workflows.needs import Needs, needs_of
from workflows.rule_index import CompiledRule


class Explained(msgspec.Struct):
    """What a rule says to an event: whether it wants it, why (not), and the values that its condition looked at."""

    rule: str
    matched: bool
    why: str
    workflows: list[str]
    priority: int
    condition: str | None = None
    values: dict[str, Any] = {}


def choose_workflows(event: AcceptedEvent, definitions: Definitions) -> tuple[list[str], list[tuple[str, str]]]:
    """The workflows that rules want for the event, each once, in the rules' order; and conditions without a value."""
    rules = definitions.rules.of(event.type, event.source)
    if not rules:
        return [], []
    context: Context | None = None
    chosen: dict[str, None] = {}
    for rule in rules:
        if rule.consents and _lacking(rule, event) is not None:
            continue
        if rule.condition is not None:
            context = context or _context(event)
            if not rule.condition.holds(context):
                continue
        chosen.update(dict.fromkeys(rule.workflows))
    return list(chosen), context.errors if context else []


def explain(event: AcceptedEvent, definitions: Definitions) -> list[Explained]:
    """What each enabled rule says to the event, in the order in which their workflows run."""
    return [_explained(rule, event) for rule in definitions.rules.all]


def _context(event: AcceptedEvent) -> Context:
    return Context(
        {
            "event": lambda: event_variables(event, lambda: msgspec.json.decode(event.properties)),
            "profile": lambda: {
                "id": event.profile or "",
                "counters": event.counters,
                "consents": event.consents,
            },
        }
    )


def _lacking(rule: CompiledRule, event: AcceptedEvent) -> str | None:
    """The first consent that the rule needs and the profile has not given."""
    return next((consent for consent in rule.consents if event.consents.get(consent) is not True), None)


def _explained(rule: CompiledRule, event: AcceptedEvent) -> Explained:
    context = _context(event)
    found = Explained(rule.id, False, "", list(rule.workflows), rule.priority)
    if not rule.takes_type(event.type):
        found.why = f"it is about {rule.event_type}, the event is {event.type}"
    elif not rule.takes_source(event.source):
        found.why = f"it is about the source {rule.source}, the event is of {event.source}"
    elif lacking := _lacking(rule, event):
        found.why = f"the profile has not given the consent {lacking}"
    elif rule.condition is None:
        found.matched, found.why = True, "it has no condition"
    else:
        found.condition, found.values = rule.condition.source, _values(rule.condition, context)
        found.matched = rule.condition.holds(context)
        found.why = "its condition holds" if found.matched else "its condition does not hold"
        if context.errors:
            found.why = f"its condition has no value: {context.errors[0][1]}"
    return found


def _values(condition: Condition, context: Context) -> dict[str, Any]:
    """Path to value, of what the condition looks at."""
    needs = needs_of(condition.source, [name for name in ("event", "profile") if name in condition.source])
    return {
        f"{variable}.{path}": value_at(context.variable(variable), path)
        for variable, need in needs.items()
        for path in _paths(need)
    }


def _paths(needs: Needs) -> list[str]:
    if not needs:
        return []
    found = []
    for name, deeper in needs.items():
        found += [f"{name}.{path}" for path in _paths(deeper)] or [name]
    return found
