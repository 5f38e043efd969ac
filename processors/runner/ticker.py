"""What becomes due though no record comes: taken from PostgreSQL now and then, and published."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from processors.runner.attempt import encode
from processors.runner.failures import unavailable_cause
from processors.runner.publisher import Publishes
from processors.storage.database import Connect, Connection

log = logging.getLogger("headwater.ticker")

EVERY_S = 1.0

#: Takes what is due out of its table, in the connection's transaction.
TakeDue = Callable[[Connection], Awaitable[Sequence[Any]]]


class Ticker:
    """Any number of workers may tick: what one takes the others do not see. A crash between publishing and committing
    publishes again, so whoever reads must not mind."""

    def __init__(self, connect: Connect, publisher: Publishes, take_due: TakeDue, every_s: float = EVERY_S) -> None:
        self._connect, self._publisher, self._take_due, self._every_s = connect, publisher, take_due, every_s

    async def run(self) -> None:
        """For ever. Raises what is no outage."""
        while True:
            try:
                async with await self._connect() as connection:
                    while True:
                        while await self.tick(connection):
                            pass
                        await asyncio.sleep(self._every_s)
            except Exception as error:
                cause = unavailable_cause(error)
                if cause is None:
                    log.exception("the ticker cannot go on")
                    raise
                log.warning("%s unavailable; what is due waits", cause)
                await asyncio.sleep(self._every_s)

    async def tick(self, connection: Connection) -> int:
        """Publish some of what is due; how much it was."""
        due = await self._take_due(connection)
        if due:
            await self._publisher.publish(encode(due))
        await connection.commit()
        return len(due)
