"""The change log: what each run decided about its profile. It can be read, and a profile be made anew from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from schemas.definitions.identity import Strategy
from workflows.commands import (
    AppendToTrait,
    Command,
    Increment,
    RemoveFromTrait,
    SaidBy,
    SetMembership,
    SetTrait,
    SetTraitIfEmpty,
)
from workflows.profile import NO_STRATEGIES, ProfileState, apply, merge_states

#: A command as it is kept: what it does, to which field, with which value; where it changed something, also what was
#: there before and after (of lists only that they changed: they may be long).
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
    command: Command,
    state: ProfileState,
    at: int,
    by: str,
    strategies: Mapping[str, Strategy] = NO_STRATEGIES,
    place: int = 0,
) -> tuple[bool, str | None, Change | None]:
    """As `apply`: whether the state is another now (its times, if nothing else), the field whose value is, and how the
    command is kept, None where it is not about the profile."""
    if isinstance(command, Increment):
        before = state.totals.get(command.name)
        changed = apply(command, state, at, by, strategies, place)
        now = str(state.totals[command.name])
        return True, changed, ["add", command.name, str(command.by), before and str(before), now]
    if isinstance(command, (SetTrait, SetTraitIfEmpty, AppendToTrait, RemoveFromTrait)):
        return _carry_out_trait(command, state, at, by, strategies, place)
    if isinstance(command, SetMembership):
        by_whom = [] if command.origin == "workflow" else [command.origin]
        return False, None, ["segment", command.segment, command.member, *by_whom]
    return False, None, None


def _carry_out_trait(
    command: SetTrait | SetTraitIfEmpty | AppendToTrait | RemoveFromTrait,
    state: ProfileState,
    at: int,
    by: str,
    strategies: Mapping[str, Strategy],
    place: int,
) -> tuple[bool, str | None, Change]:
    name = command.name
    old = state.traits.get(name)
    changed = apply(command, state, at, by, strategies, place)
    kept = [_NAMES[type(command)], name, command.value]
    if changed is None:
        return False, None, kept
    now = state.traits[name].value
    news = changed if old is None or type(old.value) is not type(now) or old.value != now else None
    if isinstance(command, (AppendToTrait, RemoveFromTrait)):
        return True, news, [*kept, None, None]
    return True, news, [*kept, None if old is None else old.value, now]


def command_of(change: Change) -> Command:
    """The command that was kept as this."""
    do, name, value = change[:3]
    if do == "add":
        return Increment(name, Decimal(value))
    if do == "segment":
        return SetMembership(name, value, *change[3:])
    return _TRAITS[do](name, value)


def field_of(change: Change) -> str:
    """The field's name as in `changed` of profile-changes."""
    return f"{_PARTS.get(change[0], 'traits')}.{change[1]}"


class Ran(msgspec.Struct, frozen=True):
    """A run for a profile: of an event (microseconds, id, place), with what it decided."""

    profile: str
    at: int
    by: str
    changes: Sequence[Change]
    place: int = 0


class Merged(msgspec.Struct, frozen=True):
    """A profile became part of another."""

    survivor: str
    absorbed: str


#: (segment, origin) to whether it was said that the profile is in it.
SaidOfSegments = dict[tuple[str, SaidBy], bool]


class _Person:
    def __init__(self) -> None:
        self.state = ProfileState({}, {})
        self.segments: SaidOfSegments = {}

    def absorb(self, other: "_Person", strategies: Mapping[str, Strategy]) -> None:
        self.state = merge_states([self.state, other.state], strategies)
        self.segments |= {said: True for said, member in other.segments.items() if member}

    def run(self, one: Ran, strategies: Mapping[str, Strategy]) -> list[Change]:
        kept = []
        for command in map(command_of, one.changes):
            if isinstance(command, SetMembership):
                self.segments[command.segment, command.origin] = command.member
            kept.append(carry_out(command, self.state, one.at, one.by, strategies, one.place)[2])
        return [change for change in kept if change is not None]


def made_anew(
    happened: Iterable[Ran | Merged], strategies: Mapping[str, Strategy] = NO_STRATEGIES
) -> tuple[ProfileState, SaidOfSegments, list[list[Change]]]:
    """The state of the person that these profiles are in the end, what was said of segments, and each run's changes as
    they would be kept now: runs and merges done once more, in the order in which they were."""
    people: dict[str, _Person] = {}
    log: list[list[Change]] = []
    survivors: dict[str, str] = {}

    def person(profile: str) -> _Person:
        while profile in survivors:
            profile = survivors[profile]
        return people.setdefault(profile, _Person())

    for one in happened:
        if isinstance(one, Merged):
            person(one.survivor).absorb(person(one.absorbed), strategies)
            survivors[one.absorbed] = one.survivor
            continue
        log.append(person(one.profile).run(one, strategies))
    whole, *others = [person for id, person in people.items() if id not in survivors] or [_Person()]
    for other in others:  # merges that say so may be missing: nobody's past is lost for it
        whole.absorb(other, strategies)
    return whole.state, whole.segments, log
