"""CEL conditions: compiled once when a definition is loaded, evaluated over a context that an event's conditions share.

A missing field or a clash of types makes a condition false and is reported; it is never an exception.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import cel
import msgspec

from schemas.limits import MAX_COMPREHENSIONS, MAX_CONDITION_CHARS

#: What may stand between two symbols: spaces and comments.
_GAP = r"(?:\s|//[^\n]*\n)*"
_COMPREHENSION = re.compile(rf"\.{_GAP}(?:all|exists|exists_one|existsOne|map|filter){_GAP}\(")
_PLAIN = frozenset({bool, int, str, type(None)})


class ConditionError(ValueError):
    """A condition cannot be used. The message says why, for whoever wrote it."""


class Condition:
    """One compiled expression. `names` are the variables it needs."""

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

    def holds(self, context: "Context") -> bool:
        """Whether the expression is true. Anything else is false, an error too; errors are noted in the context."""
        return self.value(context) is True

    def value(self, context: "Context") -> Any:
        """The expression's value as JSON would hold it, None where it has none."""
        try:
            value = self._program.execute(context.compiled())
            return value if type(value) in _PLAIN else _plain(value)
        # CEL raises whatever its operands made it raise; all of them mean "no value here".
        except Exception as error:
            context.note(self.source, type(error).__name__)
            return None


def _plain(value: Any) -> Any:
    """Times and bytes as the text that they are stored as. Raises for what JSON cannot hold, infinity and NaN too."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ArithmeticError("not a finite number")
    return msgspec.to_builtins(value, str_keys=True)


class Context:
    """The variables of an event's (or profile's) conditions. They are built when a first condition asks."""

    def __init__(self, build: Callable[[], Mapping[str, Any]]) -> None:
        self._build = build
        self._compiled: cel.Context | None = None
        self._changed: dict[str, Callable[[], Any]] = {}
        #: Conditions that had no value, and the class of the error.
        self.errors: list[tuple[str, str]] = []

    def compiled(self) -> cel.Context:
        if self._compiled is None:
            self._compiled = cel.Context(variables=dict(self._build()))
        elif self._changed:
            for name, make in self._changed.items():
                self._compiled.add_variable(name, make())
        self._changed.clear()
        return self._compiled

    def change(self, name: str, make: Callable[[], Any]) -> None:
        """Conditions that come now see this variable anew; the others stay as they were built."""
        self._changed[name] = make

    def note(self, source: str, error: str) -> None:
        self.errors.append((source, error))
