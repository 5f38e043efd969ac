"""route: rules choose workflows, and destinations the events that they want. Events that no rule wants go on without;
they stay `received`."""

from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec

from schemas.events import WorkflowRun
from schemas.profiles import Delivery
from workflows.definitions import Definitions
from workflows.event_deliveries import owed_for
from workflows.rules import choose_workflows


async def route(events: Sequence[WorkflowRun], definitions: Definitions) -> Iterator[WorkflowRun | Delivery]:
    """Each event with its workflows, and its deliveries."""
    runs = (
        msgspec.structs.replace(
            event,
            workflows=choose_workflows(event, definitions)[0],
            routed_revision=definitions.revision,
        )
        for event in events
    )
    if not definitions.event_destinations:
        return runs
    return chain(runs, (one for event in events for one in owed_for(event, definitions.event_destinations)))
