"""dispatch: one destination's deliveries to its webhook, each profile's in order."""

from collections.abc import Sequence

from processors.connectors.webhook import Webhook
from schemas.profiles import Delivery


async def dispatch(deliveries: Sequence[Delivery], webhook: Webhook) -> list[None]:
    """Returns when all were taken. Raises Poison where the destination refused one for good."""
    await webhook.deliver(deliveries)
    return []
