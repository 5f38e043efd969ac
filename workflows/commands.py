"""What actions decide. The engine collects commands; run-workflows carries them out in one transaction."""

from decimal import Decimal
from typing import Any, Literal

import msgspec


class SetTrait(msgspec.Struct, frozen=True):
    """Give a trait a value, unless a later event already gave it one."""

    name: str
    value: Any


class SetTraitIfEmpty(msgspec.Struct, frozen=True):
    """Give a trait a value unless it has one. Of several the earliest event's stays; any SetTrait wins over it."""

    name: str
    value: Any


class AppendToTrait(msgspec.Struct, frozen=True):
    """Add a value to a trait that is a list, once."""

    name: str
    value: Any


class RemoveFromTrait(msgspec.Struct, frozen=True):
    """Take a value out of a trait that is a list."""

    name: str
    value: Any


class Increment(msgspec.Struct, frozen=True):
    """Add to a total. Exact decimals: the sum does not depend on the order of events."""

    name: str
    by: Decimal


#: Who says beside a segment's own condition who is in it: a workflow, on its own account or a model's.
SaidBy = Literal["workflow", "model"]


class SetMembership(msgspec.Struct, frozen=True):
    """Put the profile into a segment, or take it out of one that the same origin put it into."""

    segment: str
    member: bool
    origin: SaidBy = "workflow"


class MergeBy(msgspec.Struct, frozen=True):
    """This value in this namespace identifies the profile: whoever else has it is the same person."""

    namespace: str
    value: str


class Emit(msgspec.Struct, frozen=True):
    """Make a new event of the same source, session and profile."""

    type: str
    properties: dict[str, Any]


class SendTo(msgspec.Struct, frozen=True):
    """Send this to a destination, whatever its condition."""

    destination: str
    properties: dict[str, Any]


class Keep(msgspec.Struct, frozen=True):
    """Keep a value for the nodes that come after, as `data.<name>`; None forgets it."""

    name: str
    value: Any


class Log(msgspec.Struct, frozen=True):
    """Note that the run came here. The text is the definition's own: nothing of the event may get into logs."""

    message: str


Command = (
    SetTrait
    | SetTraitIfEmpty
    | AppendToTrait
    | RemoveFromTrait
    | Increment
    | SetMembership
    | MergeBy
    | Emit
    | SendTo
    | Keep
    | Log
)
