"""Object templates: JSON in which a text such as `$event.properties.order.id` stands for the value that lies there.

Dotted paths and nothing else: a template computes nothing.
"""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

#: `$` and a path; `?` behind it: left out where nothing lies there. `$$` begins a text with a dollar sign.
_REFERENCE = re.compile(r"\$(?!\$)([^\s?]*)(\??)")
_STEP = re.compile(r"[^.\s]+")
_MISSING = object()


class TemplateError(ValueError):
    """A template cannot be used. The message says why, for whoever wrote it."""


class Unfilled(Exception):
    """Nothing lies at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


#: `{event.properties.order.id}`; a brace is written twice.
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
#: What a text may become, at most.
MAX_TEXT_CHARS = 64_000


class TextTemplate:
    """A text with paths in braces, in whose place stands what lies there."""

    def __init__(self, text: str, roots: Collection[str]) -> None:
        """`roots`: the names that paths may begin with. Raises TemplateError for another, and for a lonely brace."""
        self._parts: list[str | _Reference] = []
        end = 0
        for found in _PLACE.finditer(text):
            self._parts.append(text[end : found.start()])
            self._parts.append(_in_text(found, roots))
            end = found.end()
        self._parts.append(text[end:])

    @property
    def paths(self) -> list[str]:
        """What it looks at."""
        return [part.path for part in self._parts if isinstance(part, _Reference)]

    def fill(self, values: Mapping[str, Any], write: Callable[[str], str] = str) -> str:
        """The text; `write` escapes what is put in. Raises Unfilled for the first path that leads nowhere, or to what
        is no text, number or truth value; ValueError for what gets too long."""
        filled = "".join(part if isinstance(part, str) else write(_text(part, values)) for part in self._parts)
        if len(filled) > MAX_TEXT_CHARS:
            raise ValueError("the text is too long")
        return filled


def _in_text(found: re.Match[str], roots: Collection[str]) -> "str | _Reference":
    if found[0] in ("{{", "}}"):
        return found[0][0]
    if not found[1]:
        raise TemplateError(f"{found[0]!r} is no path in braces (a brace itself is written twice)")
    reference = _compile(f"${found[1].strip()}", roots)
    if not isinstance(reference, _Reference):
        raise TemplateError(f"{found[0]!r} is no path in braces")
    return reference


def _text(reference: "_Reference", values: Mapping[str, Any]) -> str:
    value = _look_up(reference, values)
    if value is _MISSING or value is None:
        if reference.optional:
            return ""
        raise Unfilled(reference.path)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float | Decimal | datetime):
        raise Unfilled(reference.path)
    return value.isoformat() if isinstance(value, datetime) else str(value)


class _Reference:
    def __init__(self, path: str, optional: bool) -> None:
        self.path, self.optional = path, optional
        self.names = path.split(".")


class Template:
    """A compiled template."""

    def __init__(self, template: Any, roots: Collection[str]) -> None:
        """`roots`: the names that paths may begin with. Raises TemplateError for another, and for what is no path."""
        self._compiled = _compile(template, roots)

    def fill(self, values: Mapping[str, Any]) -> Any:
        """The object. Raises Unfilled for the first path that leads nowhere and is not optional."""
        return _fill(self._compiled, values)


def _compile(template: Any, roots: Collection[str]) -> Any:
    if isinstance(template, dict):
        return {name: _compile(value, roots) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [_compile(value, roots) for value in template]
    if not isinstance(template, str) or not template.startswith("$"):
        return template
    if template.startswith("$$"):
        return template[1:]
    found = _REFERENCE.fullmatch(template)
    if found is None or not all(map(_STEP.fullmatch, found[1].split("."))):
        raise TemplateError(f"{template!r} is no path (a text that begins with a dollar sign is written with two)")
    if (root := found[1].split(".")[0]) not in roots:
        raise TemplateError(f"{template!r}: there is no {root!r} here, only {', '.join(sorted(roots))}")
    return _Reference(found[1], bool(found[2]))


def _fill(part: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        filled = {name: _fill(value, values) for name, value in part.items()}
        return {name: value for name, value in filled.items() if value is not _MISSING}
    if isinstance(part, list):
        return [value for value in (_fill(item, values) for item in part) if value is not _MISSING]
    if isinstance(part, _Reference):
        return _look_up(part, values)
    return part


def _look_up(reference: _Reference, values: Mapping[str, Any]) -> Any:
    value: Any = values
    for name in reference.names:
        value = _child(value, name)
        if value is _MISSING:
            if reference.optional:
                return _MISSING
            raise Unfilled(reference.path)
    return value


def _child(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name, _MISSING)
    if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
        return value[int(name)]
    return _MISSING
