"""A profile's traits and totals: how commands change them, and how two profiles' become one.

Traits go by (occurred at, event id), totals only add. So the outcome does not depend on the order of arrival.
"""

from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Any

import msgspec

from workflows.commands import AppendToTrait, Command, Increment, RemoveFromTrait, SetTrait

#: Maps come out of CEL with their keys in any order.
_encode = msgspec.json.Encoder(order="sorted").encode
#: Enough digits for any sum of floats: what the default would round, it would round by the order of events.
_EXACT = Context(prec=2000)


class Trait(msgspec.Struct, array_like=True, gc=False):
    """A trait's value, when what caused it happened (microseconds since 1970), and the id of the event that did."""

    value: Any
    at: int
    by: str

    @property
    def stamp(self) -> tuple[int, str]:
        """What decides between two values: the later wins."""
        return self.at, self.by


class ProfileState(msgspec.Struct, gc=False):
    """What workflows know and change of one profile."""

    traits: dict[str, Trait] = {}
    totals: dict[str, Decimal] = {}

    def values(self) -> dict[str, Any]:
        """Traits by name, without their stamps."""
        return {name: trait.value for name, trait in self.traits.items()}


def apply(command: Command, state: ProfileState, at: int, by: str) -> str | None:
    """Change the state as a command of the event (`at`, `by`) says; the changed field's name, None where none did."""
    match command:
        case Increment(name, by_amount):
            state.totals[name] = _EXACT.add(state.totals.get(name, Decimal(0)), by_amount)
            return f"totals.{name}"
        case SetTrait(name, value):
            return _put(state, name, Trait(value, at, by))
        case AppendToTrait(name, value):
            items = _items(state, name)
            return None if value in items else _put_list(state, name, [*items, value], at, by)
        case RemoveFromTrait(name, value):
            items = _items(state, name)
            return _put_list(state, name, [item for item in items if item != value], at, by) if value in items else None
        case _:
            return None


def _put(state: ProfileState, name: str, new: Trait) -> str | None:
    old = state.traits.get(name)
    if old is not None and (old.stamp > new.stamp or (old.value == new.value and old.stamp == new.stamp)):
        return None
    state.traits[name] = new
    return f"traits.{name}"


def _put_list(state: ProfileState, name: str, items: list[Any], at: int, by: str) -> str:
    old = state.traits.get(name)
    stamp = max((at, by), old.stamp) if old else (at, by)
    state.traits[name] = Trait(_ordered(items), *stamp)
    return f"traits.{name}"


def _items(state: ProfileState, name: str) -> list[Any]:
    trait = state.traits.get(name)
    if trait is None:
        return []
    return trait.value if isinstance(trait.value, list) else [trait.value]


def _ordered(items: Iterable[Any]) -> list[Any]:
    """Each item once, in an order that does not depend on which came first."""
    return [item for _, item in sorted({_encode(item): item for item in items}.items())]


def merge_states(states: Iterable[ProfileState]) -> ProfileState:
    """The state of the one person that several profiles turned out to be: lists unite, else the later value wins."""
    merged = ProfileState({}, {})
    for state in states:
        for name, trait in state.traits.items():
            merged.traits[name] = _merge_trait(merged.traits.get(name), trait)
        for name, total in state.totals.items():
            merged.totals[name] = _EXACT.add(merged.totals.get(name, Decimal(0)), total)
    return merged


def _merge_trait(one: Trait | None, other: Trait) -> Trait:
    if one is None:
        return other
    if isinstance(one.value, list) and isinstance(other.value, list):
        return Trait(_ordered([*one.value, *other.value]), *max(one.stamp, other.stamp))
    return max(one, other, key=lambda trait: trait.stamp)
