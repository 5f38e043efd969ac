"""What a run waits for, and what it is told then. A run that waits is parked in PostgreSQL; see workflows.engine."""

from datetime import datetime
from typing import Any

import msgspec

from schemas.events import Answer
from workflows.wildcards import matches


class Until(msgspec.Struct, frozen=True, tag="time"):
    """A moment."""

    at: datetime


class ForEvent(msgspec.Struct, frozen=True, tag="event"):
    """Another event of the same profile, of one of these types (`order-*` and `*` too), that its action takes; until
    then, at most."""

    types: tuple[str, ...]
    until: datetime


class HttpCall(msgspec.Struct, frozen=True, tag="http"):
    """A request to a resource. `path` goes behind the resource's url; `body` is JSON."""

    resource: str
    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = {}
    timeout_s: float = 10.0
    retries: int = 3


class QueryCall(msgspec.Struct, frozen=True, tag="query"):
    """A query of a PostgreSQL resource, with values for its placeholders."""

    resource: str
    sql: str
    values: dict[str, Any] = {}
    timeout_s: float = 10.0
    retries: int = 3


class ProfileCall(msgspec.Struct, frozen=True, tag="profile"):
    """What is known of whoever has this identifier: asked of our own database."""

    namespace: str
    value: str
    timeout_s: float = 10.0
    retries: int = 3


Call = HttpCall | QueryCall | ProfileCall
Wait = Until | ForEvent | Call


def resource_of(call: Call) -> str:
    """Whom a call asks; '' is ourselves."""
    return "" if isinstance(call, ProfileCall) else call.resource


class RunState(msgspec.Struct, omit_defaults=True):
    """Where a run stands. `done`: node to the port that it left by."""

    reached: set[str] = set()
    done: dict[str, str] = {}
    waiting: dict[str, Wait] = {}
    #: What its nodes keep for those that come after them.
    data: dict[str, Any] = {}
    emitted: int = 0
    #: The nodes that it passed, in order, and what failed: node, class of the error.
    nodes: list[str] = []
    errors: list[tuple[str, str]] = []
    #: It ends here, whatever was still to do.
    ended: bool = False

    @property
    def due_at(self) -> datetime | None:
        """When time itself goes on with it, None where that does not."""
        return min((wait.until if isinstance(wait, ForEvent) else wait.at for wait in self._timed), default=None)

    @property
    def awaits(self) -> list[str]:
        """The event types that it waits for."""
        return sorted({t for wait in self.waiting.values() if isinstance(wait, ForEvent) for t in wait.types})

    @property
    def calls(self) -> dict[str, Call]:
        """What it has asked of the outside, by node."""
        return {node: wait for node, wait in self.waiting.items() if not isinstance(wait, Until | ForEvent)}

    @property
    def _timed(self) -> list[Until | ForEvent]:
        return [wait for wait in self.waiting.values() if isinstance(wait, Until | ForEvent)]


def over(state: RunState, now: datetime) -> dict[str, Answer]:
    """The waits that time ends: node to what it is told."""
    found = {}
    for node, wait in state.waiting.items():
        if isinstance(wait, Until) and wait.at <= now:
            found[node] = Answer()
        elif isinstance(wait, ForEvent) and wait.until <= now:
            found[node] = Answer(is_late=True)
    return found


def wants(state: RunState, type: str, at: datetime) -> list[str]:
    """The nodes that wait for an event of this type, which came in time for them."""
    return [
        node
        for node, wait in state.waiting.items()
        if isinstance(wait, ForEvent) and matches(wait.types, type) and at < wait.until
    ]
