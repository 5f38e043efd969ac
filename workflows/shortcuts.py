"""The plain CEL expressions, answered without CEL: paths, `has`, `in`, comparisons, `!`, `&&`, `||`, texts and numbers.

Most expressions of rules, segments and workflows are of these, and converting values for CEL costs ten times the
answer. Whatever is not plain (a missing part, values of two types) is left to CEL, whose answer is the same where both
have one.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

#: What an expression without an answer here gives.
LEFT_TO_CEL: Final = object()

Variables = Callable[[str], Any]
#: From variables to the value, or to LEFT_TO_CEL.
Shortcut = Callable[[Variables], Any]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"[^\"\\\n]*\"|'[^'\\\n]*')|(?P<number>-?\d+(?:\.\d+)?)(?![\w.])|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[<>!().\[\]]))"
)
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: Parentheses in parentheses.
_MOST_DEEP = 50
#: Names that begin what is no path, or that CEL keeps for itself.
_OTHER_NAMES = frozenset({"true", "false", "null", "in", "has"})


class _NotPlain(Exception):
    """An expression of another kind."""


def shortcut_of(source: str) -> Shortcut | None:
    """The shortcut for an expression that CEL has accepted, None where it has none."""
    try:
        return _Parser(source).whole()
    except _NotPlain:
        return None


def constant(value: Any) -> Shortcut:
    """The shortcut for an expression that looks at nothing."""
    return lambda variables: value


class _Parser:
    """By recursive descent; raises _NotPlain."""

    def __init__(self, source: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at, end = 0, len(source.rstrip())
        while at < end:
            found = _TOKEN.match(source, at)
            if found is None:
                raise _NotPlain
            self._tokens.append((found.lastgroup or "", found[found.lastgroup or ""]))
            at = found.end()
        self._at = self._depth = 0

    def whole(self) -> Shortcut:
        made = self._either()
        if self._at < len(self._tokens):
            raise _NotPlain
        return made

    def _either(self) -> Shortcut:
        self._depth += 1
        if self._depth > _MOST_DEEP:
            raise _NotPlain
        sides = [self._both()]
        while self._takes("||"):
            sides.append(self._both())
        self._depth -= 1
        return _joined(sides, True) if len(sides) > 1 else sides[0]

    def _both(self) -> Shortcut:
        sides = [self._relation()]
        while self._takes("&&"):
            sides.append(self._relation())
        return _joined(sides, False) if len(sides) > 1 else sides[0]

    def _relation(self) -> Shortcut:
        left = self._operand()
        kind, sign = self._next()
        if kind == "sign" and sign in _COMPARED:
            self._at += 1
            kind, token = self._next()
            if kind in _LITERALS:
                self._at += 1
                return _compared_with(_COMPARED[sign], left, _LITERALS[kind](token))
            return _comparison(_COMPARED[sign], left, self._operand())
        if (kind, sign) == ("name", "in"):
            self._at += 1
            return _membership(left, _found(*self._path(self._name())))
        return left

    def _operand(self) -> Shortcut:
        negations = 0
        while self._takes("!"):
            negations += 1
        if negations:  # a second one only asks for a truth value
            once = _negation(self._operand())
            return once if negations % 2 else _negation(once)
        kind, token = self._next()
        self._at += 1
        if kind in _LITERALS:
            return constant(_LITERALS[kind](token))
        if (kind, token) == ("sign", "("):
            return self._closed(self._either())
        if kind != "name":
            raise _NotPlain
        if token in ("true", "false"):
            return constant(token == "true")
        if token in ("has", "string") and self._takes("("):
            path = self._path(self._name())
            return self._closed(_has(*path) if token == "has" else _text(*path))
        return _plain(*self._path(token))

    def _path(self, variable: str) -> tuple[str, list[str]]:
        if variable in _OTHER_NAMES:
            raise _NotPlain
        parts = []
        while self._next() in (("sign", "."), ("sign", "[")):
            if self._takes("."):
                parts.append(self._name())
            elif self._takes("["):
                kind, text = self._next()
                if kind != "text":
                    raise _NotPlain
                self._at += 1
                self._takes("]", must=True)
                parts.append(text[1:-1])
        if not parts or self._next() == ("sign", "("):
            raise _NotPlain
        return variable, parts

    def _name(self) -> str:
        kind, name = self._next()
        if kind != "name" or name in _OTHER_NAMES:
            raise _NotPlain
        self._at += 1
        return name

    def _closed(self, made: Shortcut) -> Shortcut:
        self._takes(")", must=True)
        return made

    def _takes(self, sign: str, must: bool = False) -> bool:
        if self._next() == ("sign", sign):
            self._at += 1
            return True
        if must:
            raise _NotPlain
        return False

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")


def _found(variable: str, names: list[str]) -> Shortcut:
    """The value at a path, of whatever type."""

    def find(variables: Variables) -> Any:
        value = variables(variable)
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return LEFT_TO_CEL
            value = value[name]
        return value

    return find


def _plain(variable: str, names: list[str]) -> Shortcut:
    """The value at a path, where it is the same for CEL."""

    def value_of(variables: Variables) -> Any:
        value = variables(variable)
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return LEFT_TO_CEL
            value = value[name]
        return value if isinstance(value, str) or _is_plain(value) else LEFT_TO_CEL

    return value_of


def _has(variable: str, names: list[str]) -> Shortcut:
    find, last = _found(variable, names[:-1]), names[-1]

    def is_there(variables: Variables) -> Any:
        value = find(variables)
        return last in value if isinstance(value, dict) else LEFT_TO_CEL

    return is_there


def _text(variable: str, names: list[str]) -> Shortcut:
    """`string(a.b.c)` of a text or a time."""
    find = _found(variable, names)

    def as_text(variables: Variables) -> Any:
        value = find(variables)
        if isinstance(value, datetime) and value.tzinfo is UTC:
            digits = "milliseconds" if value.microsecond and value.microsecond % 1000 == 0 else "auto"
            return value.isoformat(timespec=digits)
        return value if isinstance(value, str) else LEFT_TO_CEL

    return as_text


def _comparison(compare: Callable[[Any, Any], bool], left: Shortcut, right: Shortcut) -> Shortcut:
    """Of two values of one type. Truth values are only equal or not."""
    ordering = compare not in (operator.eq, operator.ne)

    def compared(variables: Variables) -> Any:
        one, other = left(variables), right(variables)
        if type(one) is not type(other) or one is LEFT_TO_CEL or one is None or (ordering and isinstance(one, bool)):
            return LEFT_TO_CEL
        return compare(one, other)

    return compared


def _compared_with(compare: Callable[[Any, Any], bool], left: Shortcut, literal: str | int | float) -> Shortcut:
    kind = type(literal)

    def compared(variables: Variables) -> Any:
        one = left(variables)
        return compare(one, literal) if type(one) is kind else LEFT_TO_CEL

    return compared


def _membership(left: Shortcut, right: Shortcut) -> Shortcut:
    """`"text" in a.list_of_texts`."""

    def is_in(variables: Variables) -> Any:
        one, many = left(variables), right(variables)
        if isinstance(one, str) and isinstance(many, list) and all(isinstance(value, str) for value in many):
            return one in many
        return LEFT_TO_CEL

    return is_in


def _negation(inner: Shortcut) -> Shortcut:
    def negated(variables: Variables) -> Any:
        value = inner(variables)
        return not value if isinstance(value, bool) else LEFT_TO_CEL

    return negated


def _joined(sides: list[Shortcut], decides: bool) -> Shortcut:
    """`&&` and `||`: one side that decides is enough, whatever became of the sides before it is left to CEL."""

    def joined(variables: Variables) -> Any:
        for side in sides:
            value = side(variables)
            if value is decides:
                return decides
            if not isinstance(value, bool):
                return LEFT_TO_CEL
        return not decides

    return joined


def _number(token: str) -> int | float:
    if "." in token:
        return float(token)
    if not -(2**63) <= int(token) < 2**63:
        raise _NotPlain
    return int(token)


_LITERALS: Mapping[str, Callable[[str], Any]] = {"text": lambda token: token[1:-1], "number": _number}


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | bool) or (isinstance(value, int) and -(2**63) <= value < 2**63)
