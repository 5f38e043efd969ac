"""Reshaping: events as somebody sends them become events as the definitions want them. It ends validate.

Pure. What comes out is checked again by whoever asks.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from schemas.definitions.inbound import Reshaping
from schemas.events import ValidEvent
from schemas.failures import Reason
from schemas.limits import MAX_CONTEXT_BYTES, MAX_EVENT_BYTES
from schemas.storable import parsed
from workflows.actions.action import event_variables
from workflows.conditions import Condition, Context
from workflows.templates import Template, Unfilled

_ROOTS = ("event", "session", "context")


class Reshaped(msgspec.Struct):
    """What became of an event: itself, in another shape where `by` names a definition; or reasons to reject it."""

    event: ValidEvent
    properties: dict[str, Any]
    by: str | None = None
    reasons: list[Reason] = []


class CompiledReshaping:
    """A reshaping, its templates and condition compiled."""

    def __init__(self, definition: Reshaping) -> None:
        """Raises TemplateError and ConditionError."""
        self.definition, self.id, self.source = definition, definition.id, definition.source
        self.condition = Condition(definition.condition) if definition.condition else None
        self._properties = _template(definition.properties)
        self._context = _template(definition.context)

    def shape(self, event: ValidEvent, variables: Mapping[str, Any]) -> Reshaped:
        """The event in its new shape. Raises Unfilled."""
        definition = self.definition
        own = variables["event"]["properties"]
        properties = dict(own) if self._properties is None else self._properties.fill(variables)
        for path, to in definition.move.items():
            if (value := _take(properties, path)) is not _ABSENT:
                _put(properties, to, value)
        for path, value in definition.default.items():
            if _at(properties, path) in (_ABSENT, None):
                _put(properties, path, value)
        for path in definition.drop:
            _take(properties, path)
        context = event.context if self._context is None else _raw(self._context.fill(variables))
        changed = msgspec.structs.replace(
            event, type=definition.becomes or event.type, properties=_raw(properties), context=context
        )
        return Reshaped(changed, msgspec.json.decode(changed.properties), self.id, _reasons(changed))


def reshape(event: ValidEvent, properties: dict[str, Any], candidates: Iterable[CompiledReshaping]) -> Reshaped:
    """The event, in the shape that the first candidate that applies gives it. `properties` are the event's, parsed."""
    made: dict[str, Any] = {}

    def variable(name: str) -> Any:
        if not made:
            made["event"] = event_variables(event, lambda: properties)
            made["context"] = made["event"]["context"]
            made["session"] = {"id": event.session} if event.session else {}
        return made[name]

    context = Context({name: partial(variable, name) for name in _ROOTS})
    for candidate in candidates:
        if candidate.source not in (None, event.source):
            continue
        if candidate.condition is not None and not candidate.condition.holds(context):
            continue
        try:
            return candidate.shape(event, {name: variable(name) for name in _ROOTS})
        except Unfilled as unfilled:
            if candidate.definition.unfilled == "keep":
                return Reshaped(event, properties)
            return Reshaped(event, properties, candidate.id, [_unfilled(candidate.id, unfilled.path)])
    return Reshaped(event, properties)


def _template(template: dict[str, Any] | None) -> Template | None:
    return None if template is None else Template(template, _ROOTS)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _unfilled(id: str, path: str) -> Reason:
    root, _, rest = path.partition(".")
    below = rest if root == "event" else f"{root}.{rest}"
    return Reason("cannot_reshape", "/" + below.replace(".", "/"), f"reshaping {id} needs {path}")


def _reasons(event: ValidEvent) -> list[Reason]:
    """A template may nest and repeat what was small enough."""
    if len(bytes(event.properties)) > MAX_EVENT_BYTES:
        return [Reason("event_too_large", "", f"an event may have {MAX_EVENT_BYTES} bytes, reshaped too")]
    if len(bytes(event.context)) > MAX_CONTEXT_BYTES:
        return [Reason("invalid_context", "/context", f"a context may have {MAX_CONTEXT_BYTES} bytes, reshaped too")]
    problems = (parsed(event.properties)[1], parsed(event.context)[1])
    return [problem for problem in problems if problem is not None]


_ABSENT = object()


def _at(properties: dict[str, Any], path: str) -> Any:
    value: Any = properties
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _take(properties: dict[str, Any], path: str) -> Any:
    """What lies at the path, taken out; _ABSENT where nothing does."""
    *above, last = path.split(".")
    value = _at(properties, path)
    if value is not _ABSENT:
        del _own(properties, above, path)[last]
    return value


def _put(properties: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    _own(properties, above, path)[last] = value


def _own(properties: dict[str, Any], above: list[str], path: str) -> dict[str, Any]:
    """The object at `above`, made where it is missing, and copied on the way: what was sent stays as it is.

    Raises Unfilled where something that is no object stands in the way.
    """
    target = properties
    for name in above:
        inner = target.get(name, {})
        if not isinstance(inner, dict):
            raise Unfilled(f"event.properties.{path}")
        target[name] = target = dict(inner)
    return target
