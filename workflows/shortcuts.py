"""The simplest CEL expressions, answered without CEL: a path (`event.type`), one compared with a text or turned into
one (`string(event.time)`), and constants.

Most expressions of workflows are one of these, and converting values for CEL costs ten times the answer. Whatever is
not plain (a missing part, another type) is left to CEL, whose answer is the same where both have one.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

_PATH = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
_SIMPLE = re.compile(rf"\s*({_PATH})\s*(?:(==|!=)\s*(?:\"([^\"\\\n]*)\"|'([^'\\\n]*)')\s*)?")
_AS_TEXT = re.compile(rf"\s*string\s*\(\s*({_PATH})\s*\)\s*")
_INT64 = range(-(2**63), 2**63)


class Shortcut(Protocol):
    """One such expression."""

    def value(self, variables: Callable[[str], Any]) -> tuple[bool, Any]:
        """Whether there is an answer here, and the answer. `variables` gives a variable's value."""


class Constant:
    """An expression that looks at nothing, and its value."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def value(self, variables: Callable[[str], Any]) -> tuple[bool, Any]:
        return True, self._value


class _Path:
    """`a.b.c`."""

    def __init__(self, path: str) -> None:
        self._variable, *self._names = path.split(".")

    def value(self, variables: Callable[[str], Any]) -> tuple[bool, Any]:
        found, value = self._find(variables)
        return found and _is_plain(value), value

    def _find(self, variables: Callable[[str], Any]) -> tuple[bool, Any]:
        value = variables(self._variable)
        for name in self._names:
            if not isinstance(value, dict) or name not in value:
                return False, None
            value = value[name]
        return True, value


class _Comparison(_Path):
    """`a.b.c == "text"`, or `!=`."""

    def __init__(self, path: str, equal: bool, text: str) -> None:
        super().__init__(path)
        self._equal, self._text = equal, text

    def value(self, variables: Callable[[str], Any]) -> tuple[bool, Any]:
        _, value = self._find(variables)
        return isinstance(value, str), (value == self._text) is self._equal


class _Text(_Path):
    """`string(a.b.c)` of a text or a time."""

    def value(self, variables: Callable[[str], Any]) -> tuple[bool, Any]:
        _, value = self._find(variables)
        if isinstance(value, datetime) and value.tzinfo is UTC:
            digits = "milliseconds" if value.microsecond and value.microsecond % 1000 == 0 else "auto"
            return True, value.isoformat(timespec=digits)
        return isinstance(value, str), value


def shortcut_of(source: str) -> Shortcut | None:
    """The shortcut for an expression that CEL has accepted, None where it has none."""
    if found := _SIMPLE.fullmatch(source):
        path, sign, text, other_text = found.groups()
        return _Path(path) if sign is None else _Comparison(path, sign == "==", text or other_text or "")
    return _Text(found[1]) if (found := _AS_TEXT.fullmatch(source)) else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | bool) or (isinstance(value, int) and value in _INT64)
