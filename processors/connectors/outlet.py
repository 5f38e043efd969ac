"""Where a destination's deliveries go, by its type."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from processors.runner.failures import Unavailable
from schemas.definitions.outbound import Destination
from schemas.profiles import Delivery


class Delivers(Protocol):
    """Brings deliveries somewhere, each profile's in order, at least once."""

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Return when all were taken. Raises Poison where one is refused for good, Unavailable."""


class Outlet:
    """One destination's, of whatever type it is now."""

    def __init__(self, destination: Callable[[], Destination | None], by_type: Mapping[str, Delivers]) -> None:
        """`destination` gives the definition in force, None while it is removed or paused."""
        self._destination, self._by_type = destination, by_type

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """As its type does."""
        destination = self._destination()
        if destination is None:
            raise Unavailable("destination removed or paused")
        if destination.type not in self._by_type:
            raise Unavailable("destination type not installed")
        await self._by_type[destination.type].deliver(deliveries)
