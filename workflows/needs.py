"""Which parts of its variables a CEL expression looks at: converting an event costs a hundred times the evaluation.

Read from the text, as the compiled expression does not tell. A part too much does no harm, so whatever is not
understood counts as the whole variable.
"""

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

#: Part by part what is needed of a value that is a map; None: all of it, whatever it is.
Needs: TypeAlias = "dict[str, Needs] | None"

#: What may stand between two symbols: spaces and comments.
GAP = r"(?:\s|//[^\n]*\n)*"
#: `.name`, unless it is a call, and `["name"]`.
_SELECTION = rf"{GAP}\.{GAP}[A-Za-z_]\w*\b(?!{GAP}\()" rf"|{GAP}\[{GAP}(?:\"[^\"\\]*\"|'[^'\\]*'){GAP}\]"
_NAME = re.compile(rf"\.{GAP}([A-Za-z_]\w*)|\[{GAP}[\"']([^\"']*)[\"']")


def needs_of(source: str, variables: Iterable[str]) -> dict[str, Needs]:
    """What an expression needs of each of the variables that it names."""
    found: dict[str, Needs] = {}
    for variable in variables:
        paths = re.findall(rf"\b{re.escape(variable)}\b((?:{_SELECTION})*)", source)
        for path in paths or [""]:
            need: Needs = None
            for names in reversed(_NAME.findall(path)):
                need = {"".join(names): need}
            found[variable] = both(found[variable], need) if variable in found else need
    return found


def both(one: Needs, other: Needs) -> Needs:
    """What is needed by either."""
    if one is None or other is None:
        return None
    return {
        name: both(one[name], other[name]) if name in one and name in other else one.get(name, other.get(name))
        for name in one | other
    }


def part_of(value: Any, needs: Needs) -> Any:
    """As much of the value as is needed."""
    if needs is None or not isinstance(value, dict):
        return value
    return {name: part_of(value[name], need) for name, need in needs.items() if name in value}
