"""CEL conditions: compiled once when a definition is loaded, evaluated over a context that an event's conditions share.

A missing field or a clash of types makes a condition false and is reported; it is never an exception.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import cel

from schemas.limits import MAX_COMPREHENSIONS, MAX_CONDITION_CHARS

_COMPREHENSION = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\(")


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
        """Whether the expression is true. Anything but `true`, an error too, is false; errors are noted in the context."""
        return self.value(context) is True

    def value(self, context: "Context") -> Any:
        """The expression's value, None where it has none."""
        try:
            return self._program.execute(context.compiled())
        # CEL raises whatever its operands made it raise; all of them mean "no value here".
        except Exception as error:
            context.note(self.source, type(error).__name__)
            return None


class Context:
    """The variables of an event's (or profile's) conditions. They are built when a first condition asks."""

    def __init__(self, build: Callable[[], Mapping[str, Any]]) -> None:
        self._build = build
        self._compiled: cel.Context | None = None
        #: Conditions that had no value, and the class of the error.
        self.errors: list[tuple[str, str]] = []

    def compiled(self) -> cel.Context:
        if self._compiled is None:
            self._compiled = cel.Context(variables=dict(self._build()))
        return self._compiled

    def note(self, source: str, error: str) -> None:
        self.errors.append((source, error))
