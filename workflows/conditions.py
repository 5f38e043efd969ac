"""CEL conditions: compiled once when a definition is loaded, evaluated over a context that an event's conditions share.

A missing field or a clash of types makes a condition false and is reported; it is never an exception.
"""

import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

import msgspec

from schemas.limits import MAX_COMPREHENSIONS, MAX_CONDITION_CHARS
from workflows.needs import GAP, Needs, both, needs_of, part_of
from workflows.plain_answers import LEFT_TO_CEL, Shortcut, constant
from workflows.shortcuts import shortcut_of

# The package loads its command line too, which is a fifth of a process's start and serves nothing here.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
import cel  # noqa: E402

_COMPREHENSION = re.compile(rf"\.{GAP}(?:all|exists|exists_one|existsOne|map|filter){GAP}\(")
_NOTHING: Mapping[str, Mapping[str, Any]] = {}
_PLAIN = frozenset({bool, int, str, type(None)})
#: What CEL's usual errors mean to whoever wrote the expression; others are noted by their class.
_NOTES: Mapping[type[Exception], str] = {KeyError: "missing_field", TypeError: "wrong_type"}


class ConditionError(ValueError):
    """A condition cannot be used. The message says why, for whoever wrote it."""


class Condition:
    """One compiled expression. `needs` says what of its variables it looks at."""

    def __init__(self, source: str) -> None:
        """Raises ConditionError for what does not parse or could cost too much."""
        if len(source) > MAX_CONDITION_CHARS:
            raise ConditionError(f"longer than {MAX_CONDITION_CHARS} characters")
        if len(_COMPREHENSION.findall(source)) > MAX_COMPREHENSIONS:
            raise ConditionError("more than one all/exists/map/filter: they could multiply")
        try:
            self._program = cel.compile(source)
        except ValueError as error:
            raise ConditionError(str(error).replace("\n", " ")) from error
        self.source = source
        self.needs: Mapping[str, Needs] = needs_of(source, self._program.variables())
        self.shortcut: Shortcut | None = shortcut_of(source) or self._constant()

    def _constant(self) -> Shortcut | None:
        """An expression without variables always has the value that it has now. One without a value is asked anew."""
        if self.needs:
            return None
        with suppress(Exception):
            value = _json_value(self._program.execute(cel.Context()))
            return constant(value) if type(value) in _PLAIN or isinstance(value, float) else None
        return None

    def holds(self, context: "Context") -> bool:
        """Whether the expression is true. Anything else is false, an error too; errors are noted in the context."""
        return self.value(context) is True

    def value(self, context: "Context", note_missing: bool = True) -> Any:
        """The expression's value as JSON would hold it, None where it has none. `note_missing`: a field that is not
        there is an error to be noted too."""
        if self.shortcut is not None:
            value = self.shortcut(context.part)
            if value is not LEFT_TO_CEL:
                return value
        try:
            return _json_value(self._program.execute(context.compiled(self)))
        # CEL raises whatever its operands made it raise; all of them mean "no value here".
        except Exception as error:
            if note_missing or not isinstance(error, KeyError):
                context.note(self.source, _NOTES.get(type(error), type(error).__name__))
            return None


def _json_value(value: Any) -> Any:
    """Times and bytes as the text that they are stored as. Raises for what JSON cannot hold, infinity and NaN too."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise ArithmeticError("not a finite number")
    return msgspec.to_builtins(value, str_keys=True)


def share_needs(conditions: Iterable[Condition]) -> None:
    """Tell conditions that will be evaluated over one context, so that it is made for all of them at once: for those
    with a shortcut too, which may have to ask CEL after all."""
    together = list(conditions)
    needs: dict[str, Needs] = {}
    for condition in together:
        for name, need in condition.needs.items():
            needs[name] = both(needs[name], need) if name in needs else need
    for condition in together:
        condition.needs = needs


class Context:
    """The variables of an event's (or profile's) conditions: made and converted when one asks, as far as it does."""

    def __init__(
        self, variables: Mapping[str, Callable[[], Any]], at_hand: Mapping[str, Mapping[str, Any]] = _NOTHING
    ) -> None:
        """`variables`: name to what makes the value. `at_hand`: those of its parts for which nothing need be made."""
        self._make, self._at_hand = variables, at_hand
        self._made: dict[str, Any] = {}
        #: Most contexts are asked by shortcuts only.
        self._converted: _Converted | None = None
        #: Conditions that had no value, and why: `missing_field`, `wrong_type` or the class of the error.
        self.errors: list[tuple[str, str]] = []

    def compiled(self, condition: Condition) -> cel.Context:
        """The context, with what this condition needs."""
        if self._converted is None:
            self._converted = _Converted(self._make.keys())
        return self._converted.serve(condition.needs, self.variable)

    def variable(self, name: str) -> Any:
        """A variable as it is, None where there is none of that name."""
        if name not in self._made:
            self._made[name] = self._make[name]() if name in self._make else None
        return self._made[name]

    def part(self, name: str, part: str) -> Any:
        """A part of a variable, LEFT_TO_CEL where there is none."""
        at_hand = self._at_hand.get(name)
        if at_hand is not None and part in at_hand:
            return at_hand[part]
        value = self.variable(name)
        return value[part] if isinstance(value, dict) and part in value else LEFT_TO_CEL

    def changed(self, name: str) -> None:
        """Conditions that come now see this variable anew; the others stay as they were made."""
        self._made.pop(name, None)
        if self._converted is not None:
            self._converted.stale.add(name)

    def note(self, source: str, error: str) -> None:
        self.errors.append((source, error))


class _Converted:
    """Variables as CEL has them, as far as conditions have needed them. It does not refer to the Context that has it: a
    circle would stay until a collection."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._context = cel.Context()
        self._needs: dict[str, Needs] = {}
        self._served: Mapping[str, Needs] | None = None
        #: Variables that are others now.
        self.stale: set[str] = set()

    def serve(self, needs: Mapping[str, Needs], variable: Callable[[str], Any]) -> cel.Context:
        """The context, with what is needed of these variables as they are now."""
        for name, need in self._needs.items():
            if name in self.stale:
                self._convert(name, need, variable)
        self.stale.clear()
        if needs is not self._served:
            for name, need in needs.items():
                if name in self._names:
                    self._convert_more(name, need, variable)
            self._served = needs
        return self._context

    def _convert_more(self, name: str, needs: Needs, variable: Callable[[str], Any]) -> None:
        if name not in self._needs:
            self._convert(name, needs, variable)
        elif (all_needs := both(self._needs[name], needs)) != self._needs[name]:
            self._convert(name, all_needs, variable)

    def _convert(self, name: str, needs: Needs, variable: Callable[[str], Any]) -> None:
        self._context.add_variable(name, part_of(variable(name), needs))
        self._needs[name] = needs
