"""record-failures: rejected events and dead letters into PostgreSQL, one outcome an origin."""

from collections.abc import Sequence

from processors.storage.failures import Failures
from schemas.failures import DeadLetter, RejectedEvent


async def record_failures(items: Sequence[RejectedEvent | DeadLetter], failures: Failures) -> list[None]:
    """Nothing goes on from here."""
    await failures.store(items)
    return []
