"""The simplest CEL expressions, answered without CEL: a path (`event.type`), one compared with a text, and constants.

Most expressions of workflows are one of these, and converting values for CEL costs ten times the answer. Whatever is
not plain (a missing part, another type) is left to CEL, whose answer is the same where both have one.
"""

import math
import re
from collections.abc import Callable
from typing import Any

_PATH = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
_SIMPLE = re.compile(rf"\s*({_PATH})\s*(?:(==|!=)\s*(?:\"([^\"\\\n]*)\"|'([^'\\\n]*)')\s*)?")
_INT64 = range(-(2**63), 2**63)


class Shortcut:
    """One such expression."""

    def __init__(self, path: str, sign: str | None, text: str) -> None:
        self._variable, *self._names = path.split(".")
        self._sign, self._text = sign, text

    def value(self, variables: Callable[[str], Any]) -> tuple[bool, Any]:
        """Whether there is an answer here, and the answer. `variables` gives a variable's value."""
        variable = variables(self._variable)
        for name in self._names:
            if not isinstance(variable, dict) or name not in variable:
                return False, None
            variable = variable[name]
        if isinstance(variable, str):
            return True, variable if self._sign is None else (variable == self._text) is (self._sign == "==")
        return self._sign is None and _is_plain(variable), variable


class Constant:
    """An expression that looks at nothing, and its value."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def value(self, variables: Callable[[str], Any]) -> tuple[bool, Any]:
        """As Shortcut's."""
        return True, self._value


def shortcut_of(source: str) -> Shortcut | None:
    """The shortcut for an expression that CEL has accepted, None where it has none."""
    found = _SIMPLE.fullmatch(source)
    return found and Shortcut(found[1], found[2], found[3] or found[4] or "")


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool) or (isinstance(value, int) and value in _INT64)
