"""deliver: what changed, and what workflows sent, to each destination that wants it; to rules, as events, who entered a
segment and who left."""

from collections.abc import Sequence
from typing import Any

from processors.runner.failures import Unavailable
from schemas.profiles import ProfileChange
from workflows.announcing import segment_events
from workflows.definitions import Definitions
from workflows.deliveries import owed
from workflows.event_deliveries import told_of_erasing


async def deliver(changes: Sequence[ProfileChange], definitions: Definitions) -> list[Any]:
    """The deliveries, in the changes' order, and the events. Raises Unavailable for sends to what may not be known here
    yet."""
    if any(send.revision > definitions.revision for change in changes for send in change.sends):
        raise Unavailable("definitions behind")
    deliveries = [
        delivery
        for change in changes
        if not change.quiet
        for delivery in (
            *owed(change, definitions.compiled_destinations),
            *told_of_erasing(change, definitions.event_destinations),
        )
    ]
    return [*deliveries, *(event for change in changes for event in segment_events(change, definitions))]
