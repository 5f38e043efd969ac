"""dispatch: one destination's deliveries to where they go, each profile's in order."""

from collections.abc import Sequence

from processors.connectors.outlet import Outlet
from schemas.profiles import Delivery


async def dispatch(deliveries: Sequence[Delivery], outlet: Outlet) -> list[None]:
    """Returns when all were taken. Raises Poison where the destination refused one for good."""
    await outlet.deliver(deliveries)
    return []
