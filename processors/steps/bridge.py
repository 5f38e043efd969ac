"""bridge: records of another topic as payloads, as one bridge's definition says; the rest is validate's."""

from collections.abc import Callable, Sequence

from processors.runner.failures import Unavailable
from schemas.definitions.inbound import KafkaBridge
from schemas.events import BridgedPayload, ForeignRecord
from workflows.bridging import bridged


async def bridge(
    records: Sequence[ForeignRecord], definition: Callable[[], KafkaBridge | None]
) -> list[BridgedPayload]:
    """A payload for each record. Raises Unavailable while the bridge is switched off or gone."""
    now = definition()
    if now is None:
        raise Unavailable("bridge_off")
    return [bridged(record, now) for record in records]
