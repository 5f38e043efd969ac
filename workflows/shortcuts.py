"""The plain CEL expressions, answered without CEL: paths, `has`, `in`, comparisons, `!`, `&&`, `||`, texts and numbers.

Most expressions of rules, segments and workflows are of these, and converting values for CEL costs ten times the
answer. Whatever is not plain (a missing part, values of two types) is left to CEL, whose answer is the same where both
have one.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from workflows.plain_answers import (
    Shortcut,
    compared_with,
    comparison,
    constant,
    found,
    has,
    joined,
    membership,
    negation,
    plain,
    text,
)

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
        return joined(sides, True) if len(sides) > 1 else sides[0]

    def _both(self) -> Shortcut:
        sides = [self._relation()]
        while self._takes("&&"):
            sides.append(self._relation())
        return joined(sides, False) if len(sides) > 1 else sides[0]

    def _relation(self) -> Shortcut:
        left = self._operand()
        kind, sign = self._next()
        if kind == "sign" and sign in _COMPARED:
            self._at += 1
            kind, token = self._next()
            if kind in _LITERALS:
                self._at += 1
                return compared_with(_COMPARED[sign], left, _LITERALS[kind](token))
            return comparison(_COMPARED[sign], left, self._operand())
        if (kind, sign) == ("name", "in"):
            self._at += 1
            return membership(left, found(*self._path(self._name())))
        return left

    def _operand(self) -> Shortcut:
        negations = 0
        while self._takes("!"):
            negations += 1
        if negations:  # a second one only asks for a truth value
            once = negation(self._operand())
            return once if negations % 2 else negation(once)
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
            return self._closed(has(*path) if token == "has" else text(*path))
        return plain(*self._path(token))

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


def _number(token: str) -> int | float:
    if "." in token:
        return float(token)
    if not -(2**63) <= int(token) < 2**63:
        raise _NotPlain
    return int(token)


_LITERALS: Mapping[str, Callable[[str], Any]] = {"text": lambda token: token[1:-1], "number": _number}
