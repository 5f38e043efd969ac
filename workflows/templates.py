"""Object templates: JSON in which a text such as `$event.properties.order.id` stands for the value that lies there.

Dotted paths and nothing else: a template computes nothing.
"""

import re
from collections.abc import Collection, Mapping
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
