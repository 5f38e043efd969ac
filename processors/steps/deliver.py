"""deliver: what changed, and what workflows sent, to each destination that wants it."""

from collections.abc import Sequence

from processors.runner.failures import Unavailable
from schemas.profiles import Delivery, ProfileChange
from workflows.definitions import Definitions
from workflows.deliveries import owed


async def deliver(changes: Sequence[ProfileChange], definitions: Definitions) -> list[Delivery]:
    """The deliveries, in the changes' order. Raises Unavailable for sends to what may not be known here yet."""
    if any(send.revision > definitions.revision for change in changes for send in change.sends):
        raise Unavailable("definitions behind")
    return [
        delivery
        for change in changes
        if not change.quiet
        for delivery in owed(change, definitions.compiled_destinations)
    ]
