"""Where a destination's deliveries go, by its type."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from processors.runner.failures import GAVE_UP, Poison, Unavailable
from schemas.definitions.outbound import Destination
from schemas.profiles import Delivery


class Delivers(Protocol):
    """Brings deliveries somewhere, each profile's in order, at least once."""

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Return when all were taken. Raises Poison where one is refused for good, Unavailable."""


#: A destination that was not available is taken to be so for so long: what is to be given up waits for no call.
DOWN_S = 5.0
#: Deliveries that are remembered to have failed.
REMEMBERED = 20_000


class Outlet:
    """One destination's, of whatever type it is now. Gives up what was tried for as long as the destination says."""

    def __init__(self, destination: Callable[[], Destination | None], by_type: Mapping[str, Delivers]) -> None:
        """`destination` gives the definition in force, None while it is removed, paused or off."""
        self._destination, self._by_type = destination, by_type
        self._failing_since: dict[tuple[str, int], float] = {}
        self._down_until = 0.0

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """As its type does. Raises Poison, Unavailable."""
        destination = self._destination()
        if destination is None:
            self._failing_since.clear()  # who is paused is not tried
            raise Unavailable("destination removed, paused or off")
        if destination.type not in self._by_type:
            raise Unavailable("destination type not installed")
        connector, patience = self._by_type[destination.type], destination.give_up_after_s
        if patience is None or destination.type == "webhook":  # which knows its own calls
            return await connector.deliver(deliveries)
        names = [(delivery.id, delivery.again) for delivery in deliveries]
        if time.monotonic() < self._down_until:
            self._give_up(names, patience)
        try:
            await connector.deliver(deliveries)
        except Unavailable:
            self._down_until = time.monotonic() + DOWN_S
            self._give_up(names, patience)
            raise
        for name in names:
            self._failing_since.pop(name, None)

    def _give_up(self, names: Sequence[tuple[str, int]], patience: float) -> None:
        """Raises Poison where they have failed for so long."""
        now = time.monotonic()
        since = min(self._failing_since.setdefault(name, now) for name in names)
        while len(self._failing_since) > REMEMBERED:
            del self._failing_since[next(iter(self._failing_since))]
        if now - since >= patience:
            raise Poison(GAVE_UP)
