"""The change log: what each run decided about its profile. It can be read, and a profile be made anew from it."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from schemas.definitions.identity import Strategy
from workflows.commands import (
    AppendToTrait,
    Command,
    Increment,
    RemoveFromTrait,
    SetMembership,
    SetTrait,
    SetTraitIfEmpty,
)
from workflows.profile import NO_STRATEGIES, ProfileState, apply

#: A command as it is kept: what it does, to which field, with which value; where it changed something, also what was
#: there before and after.
Change = list[Any]

_TRAITS: dict[str, Callable[[str, Any], Command]] = {
    "set": SetTrait,
    "set_if_empty": SetTraitIfEmpty,
    "append": AppendToTrait,
    "remove": RemoveFromTrait,
}
_PARTS = {"add": "totals", "segment": "segments"}
_NAMES = {SetTrait: "set", SetTraitIfEmpty: "set_if_empty", AppendToTrait: "append", RemoveFromTrait: "remove"}


def carry_out(
    command: Command, state: ProfileState, at: int, by: str, strategies: Mapping[str, Strategy] = NO_STRATEGIES
) -> tuple[str | None, Change | None]:
    """As `apply`; and how it is kept, None for commands that are not about the profile."""
    match command:
        case Increment(name, amount):
            before = state.totals.get(name)
            changed = apply(command, state, at, by, strategies)
            return changed, ["add", name, str(amount), before and str(before), str(state.totals[name])]
        case (
            SetTrait(name, value)
            | SetTraitIfEmpty(name, value)
            | AppendToTrait(name, value)
            | RemoveFromTrait(name, value)
        ):
            old = state.traits.get(name)
            changed = apply(command, state, at, by, strategies)
            kept = [_NAMES[type(command)], name, value]
            return changed, [*kept, old and old.value, state.traits[name].value] if changed else kept
        case SetMembership(segment, member):
            return None, ["segment", segment, member]
        case _:
            return None, None


def command_of(change: Change) -> Command:
    """The command that was kept as this."""
    do, name, value = change[:3]
    if do == "add":
        return Increment(name, Decimal(value))
    if do == "segment":
        return SetMembership(name, value)
    return _TRAITS[do](name, value)


def field_of(change: Change) -> str:
    """The field's name as in `changed` of profile-changes."""
    return f"{_PARTS.get(change[0], 'traits')}.{change[1]}"


def made_anew(
    runs: Iterable[tuple[int, str, Iterable[Change]]], strategies: Mapping[str, Strategy] = NO_STRATEGIES
) -> tuple[ProfileState, dict[str, bool]]:
    """The state, and what workflows said of segments, that these runs lead to, in the order in which they ran:
    (microseconds, event id, changes)."""
    state, segments = ProfileState({}, {}), dict[str, bool]()
    for at, by, changes in runs:
        for change in changes:
            command = command_of(change)
            if isinstance(command, SetMembership):
                segments[command.segment] = command.member
            else:
                apply(command, state, at, by, strategies)
    return state, segments
