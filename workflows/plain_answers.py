"""Answers to plain CEL expressions: each is a function of the variables, which gives the value, or leaves it to CEL."""

import math
import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

#: What an expression without an answer here gives.
LEFT_TO_CEL: Final = object()

Variables = Callable[[str], Any]
#: From variables to the value, or to LEFT_TO_CEL.
Shortcut = Callable[[Variables], Any]


def constant(value: Any) -> Shortcut:
    """The shortcut for an expression that looks at nothing."""
    return lambda variables: value


def found(variable: str, names: list[str]) -> Shortcut:
    """The value at a path, of whatever type."""

    def find(variables: Variables) -> Any:
        value = variables(variable)
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return LEFT_TO_CEL
            value = value[name]
        return value

    return find


def plain(variable: str, names: list[str]) -> Shortcut:
    """The value at a path, where it is the same for CEL."""

    def value_of(variables: Variables) -> Any:
        value = variables(variable)
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return LEFT_TO_CEL
            value = value[name]
        return value if isinstance(value, str) or _is_plain(value) else LEFT_TO_CEL

    return value_of


def has(variable: str, names: list[str]) -> Shortcut:
    """`has(a.b.c)`."""
    find, last = found(variable, names[:-1]), names[-1]

    def is_there(variables: Variables) -> Any:
        value = find(variables)
        return last in value if isinstance(value, dict) else LEFT_TO_CEL

    return is_there


def text(variable: str, names: list[str]) -> Shortcut:
    """`string(a.b.c)` of a text or a time."""
    find = found(variable, names)

    def as_text(variables: Variables) -> Any:
        value = find(variables)
        if isinstance(value, datetime) and value.tzinfo is UTC:
            digits = "milliseconds" if value.microsecond and value.microsecond % 1000 == 0 else "auto"
            return value.isoformat(timespec=digits)
        return value if isinstance(value, str) else LEFT_TO_CEL

    return as_text


def comparison(compare: Callable[[Any, Any], bool], left: Shortcut, right: Shortcut) -> Shortcut:
    """Of two values of one type. Truth values are only equal or not."""
    ordering = compare not in (operator.eq, operator.ne)

    def compared(variables: Variables) -> Any:
        one, other = left(variables), right(variables)
        if type(one) is not type(other) or one is LEFT_TO_CEL or one is None or (ordering and isinstance(one, bool)):
            return LEFT_TO_CEL
        return compare(one, other)

    return compared


def compared_with(compare: Callable[[Any, Any], bool], left: Shortcut, literal: str | int | float) -> Shortcut:
    """With what is written in the expression."""
    kind = type(literal)

    def compared(variables: Variables) -> Any:
        one = left(variables)
        return compare(one, literal) if type(one) is kind else LEFT_TO_CEL

    return compared


def membership(left: Shortcut, right: Shortcut) -> Shortcut:
    """`"text" in a.list_of_texts`."""

    def is_in(variables: Variables) -> Any:
        one, many = left(variables), right(variables)
        if isinstance(one, str) and isinstance(many, list) and all(isinstance(value, str) for value in many):
            return one in many
        return LEFT_TO_CEL

    return is_in


def negation(inner: Shortcut) -> Shortcut:
    """`!` of a truth value."""

    def negated(variables: Variables) -> Any:
        value = inner(variables)
        return not value if isinstance(value, bool) else LEFT_TO_CEL

    return negated


def joined(sides: list[Shortcut], decides: bool) -> Shortcut:
    """`&&` and `||`: the first side that decides is enough; what follows a side without an answer is left to CEL."""

    def answer(variables: Variables) -> Any:
        for side in sides:
            value = side(variables)
            if value is decides:
                return decides
            if not isinstance(value, bool):
                return LEFT_TO_CEL
        return not decides

    return answer


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | bool) or (isinstance(value, int) and -(2**63) <= value < 2**63)
