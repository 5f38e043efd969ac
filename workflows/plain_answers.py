"""Answers to plain CEL expressions: each is a function of the variables' parts, which gives the value, or leaves it to
CEL."""

import math
import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

#: What an expression without an answer here gives.
LEFT_TO_CEL: Final = object()

#: From a variable and the name of a part of it to that part; LEFT_TO_CEL where there is none.
Parts = Callable[[str, str], Any]
#: From the variables' parts to the value, or to LEFT_TO_CEL.
Shortcut = Callable[[Parts], Any]


def constant(value: Any) -> Shortcut:
    """The shortcut for an expression that looks at nothing."""
    return lambda parts: value


def found(variable: str, names: list[str]) -> Shortcut:
    """The value at a path, of whatever type."""
    first, others = names[0], names[1:]

    def find(parts: Parts) -> Any:
        value = parts(variable, first)
        for name in others:
            if not isinstance(value, dict) or name not in value:
                return LEFT_TO_CEL
            value = value[name]
        return value

    return find


def plain(variable: str, names: list[str]) -> Shortcut:
    """The value at a path, where it is the same for CEL."""
    find = found(variable, names)

    def value_of(parts: Parts) -> Any:
        value = find(parts)
        return value if isinstance(value, str) or _is_plain(value) else LEFT_TO_CEL

    return value_of


def has(variable: str, names: list[str]) -> Shortcut:
    """`has(a.b.c)`."""
    if len(names) == 1:
        return lambda parts: True if parts(variable, names[0]) is not LEFT_TO_CEL else LEFT_TO_CEL
    find, last = found(variable, names[:-1]), names[-1]

    def is_there(parts: Parts) -> Any:
        value = find(parts)
        return last in value if isinstance(value, dict) else LEFT_TO_CEL

    return is_there


def text(variable: str, names: list[str]) -> Shortcut:
    """`string(a.b.c)` of a text or a time."""
    find = found(variable, names)

    def as_text(parts: Parts) -> Any:
        value = find(parts)
        if isinstance(value, datetime) and value.tzinfo is UTC:
            digits = "milliseconds" if value.microsecond and value.microsecond % 1000 == 0 else "auto"
            return value.isoformat(timespec=digits)
        return value if isinstance(value, str) else LEFT_TO_CEL

    return as_text


def comparison(compare: Callable[[Any, Any], bool], left: Shortcut, right: Shortcut) -> Shortcut:
    """Of two values of one type. Truth values are only equal or not."""
    ordering = compare not in (operator.eq, operator.ne)

    def compared(parts: Parts) -> Any:
        one, other = left(parts), right(parts)
        if type(one) is not type(other) or one is LEFT_TO_CEL or one is None or (ordering and isinstance(one, bool)):
            return LEFT_TO_CEL
        return compare(one, other)

    return compared


def compared_with(compare: Callable[[Any, Any], bool], left: Shortcut, literal: str | int | float) -> Shortcut:
    """With what is written in the expression."""
    kind = type(literal)

    def compared(parts: Parts) -> Any:
        one = left(parts)
        return compare(one, literal) if type(one) is kind else LEFT_TO_CEL

    return compared


def membership(left: Shortcut, right: Shortcut) -> Shortcut:
    """`"text" in a.list_of_texts`."""

    def is_in(parts: Parts) -> Any:
        one, many = left(parts), right(parts)
        if isinstance(one, str) and isinstance(many, list) and all(isinstance(value, str) for value in many):
            return one in many
        return LEFT_TO_CEL

    return is_in


def negation(inner: Shortcut) -> Shortcut:
    """`!` of a truth value."""

    def negated(parts: Parts) -> Any:
        value = inner(parts)
        return not value if isinstance(value, bool) else LEFT_TO_CEL

    return negated


def joined(sides: list[Shortcut], decides: bool) -> Shortcut:
    """`&&` and `||`: the first side that decides is enough; what follows a side without an answer is left to CEL."""

    def answer(parts: Parts) -> Any:
        for side in sides:
            value = side(parts)
            if value is decides:
                return decides
            if not isinstance(value, bool):
                return LEFT_TO_CEL
        return not decides

    return answer


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, bool)) or (isinstance(value, int) and -(2**63) <= value < 2**63)
