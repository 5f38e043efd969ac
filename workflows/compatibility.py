"""Whether what an event type's schema took is taken by another one too: what changed that may refuse it. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

#: Keywords that do not say what is taken.
_SAYS_NOTHING = frozenset(("$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"))
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_JUDGED = frozenset(
    (*_LOWER, *_UPPER, "type", "enum", "const", "required", "properties", "additionalProperties", "items")
)
#: Without these more is taken, whatever stands beside them.
_ALONE = frozenset(("pattern", "format", "multipleOf", "uniqueItems", "not", "dependentRequired", "propertyNames"))
_ALL_TYPES = frozenset(("null", "boolean", "integer", "number", "string", "array", "object"))

Schema = Mapping[str, Any]


def breaking(old: Any, new: Any, path: str = "") -> list[str]:
    """What of `new` may refuse properties that satisfy `old`, a sentence each; nothing where it takes them all."""
    if old == new or new is True or new == {} or old is False:
        return []
    if new is False:
        return [f"{path or '/'} may not be there any more"]
    before: Schema = old if isinstance(old, Mapping) else {}
    return [sentence for judge in _JUDGES for sentence in judge(before, new, path)]


def _types(old: Schema, new: Schema, path: str) -> Iterator[str]:
    before, now = _types_in(old), _types_in(new)
    if "number" in now:
        now |= {"integer"}
    if lost := sorted(before - now):
        yield f"{path or '/'} may not be {' or '.join(lost)} any more"


def _types_in(schema: Schema) -> frozenset[str]:
    said = schema.get("type", _ALL_TYPES)
    return frozenset((said,) if isinstance(said, str) else said)


def _values(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """`const` is an `enum` of one."""
    before, now = _values_in(old), _values_in(new)
    if now is None or before == now:
        return
    if before is None or any(value not in now for value in before):
        yield f"{path or '/'} may have fewer values"


def _values_in(schema: Schema) -> list[bytes] | None:
    found = [schema["const"]] if "const" in schema else schema.get("enum")
    # As JSON: true is not 1.
    return None if found is None else [msgspec.json.encode(value, order="sorted") for value in found]


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[str]:
    tighter: tuple[tuple[tuple[str, ...], Callable[[Any, Any], bool]], ...] = (
        (_LOWER, lambda before, now: now > before),
        (_UPPER, lambda before, now: now < before),
    )
    for keywords, is_tighter in tighter:
        for keyword in keywords:
            if keyword in new and (keyword not in old or is_tighter(old[keyword], new[keyword])):
                yield f"{path or '/'} has a tighter {keyword}"


def _required(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{path}/{name} is required now"


def _properties(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """A property that no schema named before may be described now: that is how event types grow."""
    before, now = old.get("properties", {}), new.get("properties", {})
    others = new.get("additionalProperties", True)
    for name, schema in before.items():
        yield from breaking(schema, now.get(name, others), f"{path}/{name}")
    if others is not True and others != old.get("additionalProperties", True):
        yield from breaking(old.get("additionalProperties", True), others, f"{path}/*")


def _items(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if "items" in new:
        yield from breaking(old.get("items", True), new["items"], f"{path}/*")


def _others(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for keyword in sorted((new.keys() | old.keys()) - _JUDGED - _SAYS_NOTHING):
        # One that is gone refuses nothing by itself; others may have leaned on it.
        if old.get(keyword) != new.get(keyword) and (keyword in new or keyword not in _ALONE):
            yield f"{path or '/'} has another {keyword}, which may refuse what was taken"


_JUDGES: tuple[Callable[[Schema, Schema, str], Iterator[str]], ...] = (
    *(_types, _values, _bounds, _required, _properties, _items, _others),
)
