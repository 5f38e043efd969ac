"""The state hash on a real PostgreSQL: it says what is known, and nothing of who asks."""

from datetime import UTC, datetime

from deploy.operations.state import state_hashes
from processors.storage.database import Connect
from processors.storage.events import Events
from schemas.events import IdentifiedEvent
from schemas.origin import Origin

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


async def test_the_state_is_the_same_wherever_and_however_clocks_are_read(connect: Connect) -> None:
    async with await connect() as connection:
        event = IdentifiedEvent(
            origin=Origin(0, 1, 0),
            source="shop",
            id="1",
            type="a",
            fingerprint="aa",
            occurred_at=NOON,
            received_at=NOON,
        )
        await Events(connection).record([event])
        await connection.commit()
        hashes = await state_hashes(connection)
        await connection.execute("set timezone = 'Asia/Kolkata'; set datestyle = 'German'")
        assert await state_hashes(connection) == hashes
