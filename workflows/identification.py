"""Identification: the identifiers that events show, as namespaces and identification points say."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from schemas.definitions.identity import Namespace
from schemas.events import ValidEvent
from schemas.limits import MAX_COMPOSITE_BYTES
from workflows.definitions import Definitions
from workflows.identifiers import identifier_value, may_hold, value_at

#: (namespace, value), normalised.
IdentifierKey = tuple[str, str]


class Shown(NamedTuple):
    """An identifier that an event shows; whether whoever sent it has checked who it is."""

    key: IdentifierKey
    verified: bool = False


class Identifiers:
    """Makes keys of values, as the namespaces' definitions say."""

    def __init__(self, definitions: Definitions, hide: Callable[[str, str], str]) -> None:
        """`hide` makes the keyed hash of a namespace's value."""
        self._definitions, self._hide = definitions, hide

    def key(self, name: str, *values: Any) -> IdentifierKey | None:
        """The identifier that these values are together, None where one of them identifies nobody."""
        namespace = self._definitions.namespace(name)
        found = [_value(value, namespace) for value in values]
        if any(value is None for value in found):
            return None
        value = (found[0] or "") if len(found) == 1 else _as_one(found)
        return name, (self._hide(name, value) if namespace.hashed else value)

    def is_login(self, shown: Shown) -> bool:
        """Whether this says who somebody is: a customer number or a checked e-mail, not a device."""
        namespace = self._definitions.namespace(shown.key[0])
        return namespace.unique or namespace.joins_identified or shown.verified

    def shown_by(self, event: ValidEvent) -> list[Shown]:
        """The identifiers that identification points find in the event."""
        return self.shown_in(event.type, event.source, event.properties, event.context)

    def shown_in(self, type: str, source: str, properties: msgspec.Raw, context: msgspec.Raw) -> list[Shown]:
        """The identifiers that identification points find in these properties and this context."""
        parts = (properties, context)
        read: list[Any] = [None, None]
        found: dict[IdentifierKey, bool] = {}
        for point in self._definitions.points_of(type):
            if point.source not in (None, source):
                continue
            if not any(may_hold(parts[in_context], name) for in_context, name in point.names):
                continue
            for identifier in point.identifiers:
                place = identifier.context is not None
                if read[place] is None:
                    read[place] = msgspec.json.decode(parts[place])
                values = [value_at(read[place], path) for path in identifier.all_paths]
                if key := self.key(identifier.namespace, *values):
                    found[key] = found.get(key, False) or point.verified
        return [Shown(key, verified) for key, verified in found.items()]


def _as_one(values: list[str | None]) -> str:
    """Several values as one; of very long ones, which no index holds, their hash."""
    value = msgspec.json.encode(values)
    return value.decode() if len(value) <= MAX_COMPOSITE_BYTES else f"sha256:{sha256(value).hexdigest()}"


def _value(value: Any, namespace: Namespace) -> str | None:
    found = identifier_value(value, namespace.normalise, namespace.region)
    if found is None or found in namespace.junk or str(value).strip() in namespace.junk:
        return None
    return found
