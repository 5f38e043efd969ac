"""route: rules choose workflows. Events that no rule wants go on without; they stay `received`."""

from collections.abc import Sequence

import msgspec

from schemas.events import AcceptedEvent, WorkflowRun
from workflows.definitions import Definitions
from workflows.rules import choose_workflows


async def route(events: Sequence[AcceptedEvent], definitions: Definitions) -> list[WorkflowRun]:
    """Each event with its workflows."""
    return [
        WorkflowRun(
            **msgspec.structs.asdict(event),
            workflows=choose_workflows(event, definitions)[0],
            routed_revision=definitions.revision,
        )
        for event in events
    ]
