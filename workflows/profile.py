"""A profile's traits and totals: how commands change them, and how two profiles' become one.

Traits go by (occurred at, place, event id), or as their definitions say; totals only add, lists that are appended to
unite. So the outcome does not depend on the order of arrival where events say when they happened; but what is removed
from a list is removed when that arrives, and a list that is both set and appended to is what it was in the order in
which that came.
"""

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from itertools import accumulate
from typing import Any

import msgspec

from schemas.definitions.identity import Strategy
from schemas.limits import MAX_EVENTS, MAX_LIST_BYTES, MAX_LIST_ITEMS
from schemas.origin import Origin
from workflows.commands import AppendToTrait, Command, Increment, RemoveFromTrait, SetTrait, SetTraitIfEmpty

#: Maps come out of CEL with their keys in any order.
_encode = msgspec.json.Encoder(order="sorted").encode
#: Enough digits for any sum of floats: what the default would round, it would round by the order of events.
_EXACT = Context(prec=2000)
_NOTHING = Decimal(0)
NO_STRATEGIES: Mapping[str, Strategy] = {}


class Trait(msgspec.Struct, array_like=True, gc=False):
    """A trait's value, when what caused it happened (microseconds since 1970), and the id of the event that did."""

    value: Any
    at: int
    by: str
    #: A list that was set as a whole, and not appended to since: it takes the place of another profile's earlier one.
    whole: bool = False
    #: Decides between events of one time, as `place_of` says.
    place: int = 0

    @property
    def happened(self) -> int:
        """When what caused it happened, in microseconds since 1970."""
        return self.at if self.at > _MIRROR // 2 else _MIRROR - self.at

    @property
    def stamp(self) -> "Stamp":
        """What decides between two values: the later wins."""
        return self.at, self.place, self.by


#: When it happened, its place, and the event's id.
Stamp = tuple[int, int, str]


def place_of(origin: Origin, ours: bool) -> int:
    """What decides between events of one time: of a payload's the later one in it; and where the time is `ours`, when
    Kafka took them, which is one for a whole batch of records, the later in the partition."""
    return max(origin.ordinal, 0) + (origin.offset * MAX_EVENTS if ours else 0)


#: What was set only because nothing was there has the time of its event mirrored to below all times that there are: so
#: whatever else is set is later, and of two such the earlier event's is.
_MIRROR = -(4 * 10**17)


def _if_empty(at: int) -> int:
    return _MIRROR - at


class ProfileState(msgspec.Struct, gc=False):
    """What workflows know and change of one profile."""

    traits: dict[str, Trait] = {}
    totals: dict[str, Decimal] = {}

    def values(self) -> dict[str, Any]:
        """Traits by name, without their stamps."""
        return {name: trait.value for name, trait in self.traits.items()}


def apply(
    command: Command,
    state: ProfileState,
    at: int,
    by: str,
    strategies: Mapping[str, Strategy] = NO_STRATEGIES,
    place: int = 0,
) -> str | None:
    """Change the state as a command of the event (`at`, `place`, `by`) says; the changed field's name, None where none
    did."""
    if isinstance(command, Increment):
        state.totals[command.name] = _EXACT.add(state.totals.get(command.name, _NOTHING), command.by)
        return f"totals.{command.name}"
    if isinstance(command, SetTrait):
        new = Trait(command.value, at, by, isinstance(command.value, list), place)
        return _put(state, command.name, new, strategies.get(command.name, "latest"))
    match command:
        case SetTraitIfEmpty(name, value):
            strategy = strategies.get(name, "latest")
            stamp = (at, place, by) if strategy in _BOTH_WAYS else (_if_empty(at), -place, by)
            return _put(state, name, _stamped(value, stamp, whole=isinstance(value, list)), strategy)
        case AppendToTrait(name, value):
            items = _items(state, name)
            if value in items and state.traits[name].stamp >= (at, place, by):
                return None
            return _put_list(state, name, [*items, value], (at, place, by))
        case RemoveFromTrait(name, value):
            items = _items(state, name)
            if value not in items:
                return None
            return _put_list(state, name, [item for item in items if item != value], (at, place, by))
        case _:
            return None


def _put(state: ProfileState, name: str, new: Trait, strategy: Strategy) -> str | None:
    old = state.traits.get(name)
    if old is None or strategy not in _BOTH_WAYS:
        if (
            old is not None
            and new.at <= old.at  # most are later, which needs no stamps to say
            and (old.stamp > new.stamp or (old.value == new.value and old.stamp == new.stamp))
        ):
            return None
        now = new
    else:
        now = _combined(old, new, strategy)
        if now == old:
            return None
    state.traits[name] = now
    return f"traits.{name}"


def _put_list(state: ProfileState, name: str, items: list[Any], stamp: Stamp) -> str:
    old = state.traits.get(name)
    state.traits[name] = _stamped(_ordered(items), max(stamp, old.stamp) if old else stamp)
    return f"traits.{name}"


def _stamped(value: Any, stamp: Stamp, whole: bool = False) -> Trait:
    at, place, by = stamp
    return Trait(value, at, by, whole, place)


def _items(state: ProfileState, name: str) -> list[Any]:
    trait = state.traits.get(name)
    if trait is None:
        return []
    return trait.value if isinstance(trait.value, list) else [trait.value]


def _ordered(items: Iterable[Any]) -> list[Any]:
    """Each item once, in an order that does not depend on which came first; and no more than a list may have."""
    ordered = sorted({_encode(item): item for item in items}.items())[:MAX_LIST_ITEMS]
    bytes_until = accumulate(len(encoded) for encoded, _ in ordered)
    return [item for (_, item), size in zip(ordered, bytes_until, strict=True) if size <= MAX_LIST_BYTES]


def merge_states(states: Iterable[ProfileState], strategies: Mapping[str, Strategy] = NO_STRATEGIES) -> ProfileState:
    """The state of the one person that several profiles turned out to be; the oldest profile's state comes first."""
    merged = ProfileState({}, {})
    for state in states:
        for name, trait in state.traits.items():
            known = merged.traits.get(name)
            strategy = strategies.get(name, "auto")
            merged.traits[name] = trait if known is None else _combined(known, trait, strategy)
        for name, total in state.totals.items():
            merged.totals[name] = _EXACT.add(merged.totals.get(name, Decimal(0)), total)
    return merged


#: Strategies that treat a trait that is written again as one that another profile has.
_BOTH_WAYS = frozenset[Strategy](["earliest", "min", "max", "union"])


def _combined(one: Trait, other: Trait, strategy: Strategy) -> Trait:
    """The trait that two become; `one` is the older profile's. The same whatever the order, `survivor` apart."""
    both_lists = isinstance(one.value, list) and isinstance(other.value, list)
    match strategy:
        case "survivor":
            return one
        case "earliest":
            return min(one, other, key=lambda trait: trait.stamp)
        case "min" | "max":
            pick = min if strategy == "min" else max
            return pick(one, other, key=lambda trait: (_rank(trait.value), trait.stamp))
        case "sum" if _are_numbers(one.value, other.value):
            return _stamped(_sum(one.value, other.value), max(one.stamp, other.stamp))
        case "union":
            items = _ordered([*_as_list(one.value), *_as_list(other.value)])
            return _stamped(items, max(one.stamp, other.stamp))
        case "auto" if both_lists and not max(one, other, key=lambda trait: trait.stamp).whole:
            return _stamped(_ordered([*one.value, *other.value]), max(one.stamp, other.stamp))
        case _:
            return max(one, other, key=lambda trait: trait.stamp)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _rank(value: Any) -> tuple[int, Any]:
    """All values in one order: numbers, then texts, then the rest."""
    if _are_numbers(value):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, _encode(value))


def _sum(one: float, other: float) -> float:
    """Of the decimals that the numbers were written as: 0.1 and 0.2 are 0.3, in whatever order."""
    total = _EXACT.add(Decimal(str(one)), Decimal(str(other)))
    return int(total) if isinstance(one, int) and isinstance(other, int) else float(total)
