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
_SELECTION = rf"{GAP}\.{GAP}([A-Za-z_]\w*)\b(?!{GAP}\()" rf"|{GAP}\[{GAP}(?:\"([^\"\\]*)\"|'([^'\\]*)'){GAP}\]"
_SELECT = re.compile(_SELECTION)
_PATH = re.sub(r"\((?=\[)", "(?:", _SELECTION)
#: What is no expression: comments and texts.
_SKIPPED = r"//[^\n]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
#: Texts whose end is not so easily found.
_HARD = re.compile(r"\b[rR][bB]?[\"']|\b[bB][rR][\"']|\"\"\"|\'\'\'")


def needs_of(source: str, variables: Iterable[str]) -> dict[str, Needs]:
    """What an expression needs of each of the variables that it names."""
    names = list(variables)
    if _HARD.search(source) or not names:
        return dict.fromkeys(names)
    found: dict[str, Needs] = {}
    alternatives = "|".join(map(re.escape, names))
    for token in re.finditer(rf"{_SKIPPED}|\b({alternatives})\b((?:{_PATH})*)", source):
        variable, path = token[1], token[2]
        if variable is not None:
            need: Needs = None
            for parts in reversed(_SELECT.findall(path)):
                need = {"".join(parts): need}
            found[variable] = both(found[variable], need) if variable in found else need
    return {name: found.get(name) for name in names}


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
