"""Makes the calls that workflow runs wait for, beside the lanes: a slow service delays its own runs, and nothing else.

A call lies in PostgreSQL until its answer is on its way to run-workflows. It is leased while it is made; whoever makes
it and dies loses the lease, and it is made again, under the same id.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from processors.runner.attempt import encode
from processors.runner.failures import Later, unavailable_cause
from processors.runner.publisher import Publishes
from processors.storage.calls import OutsideCall, OutsideCalls, answer_to
from processors.storage.database import Connect, Connection
from schemas.events import Answer

log = logging.getLogger("headwater.caller")

#: How often to look for calls while nothing happens, and calls that one worker makes at the same time, at most.
EVERY_S, MAX_CALLS = 0.1, 500
#: How often to look for calls of resources that are no more.
OTHERS_EVERY_S = 10.0
#: How long a call is its maker's, who says anew meanwhile that it still makes it.
LEASE, RENEWED_EVERY_S = timedelta(seconds=15), 5.0
MAX_BACKOFF_S = 60.0

#: Makes one call.
Ask = Callable[[OutsideCall], Awaitable[Answer | Later]]
#: Resource to how many calls of it may be made at the same time.
Limits = Callable[[], Mapping[str, int]]


class Caller:
    """Any number of workers may call: what one has leased the others leave."""

    def __init__(self, connect: Connect, publisher: Publishes, ask: Ask, limits: Limits) -> None:
        self._connect, self._publisher, self._ask, self._limits = connect, publisher, ask, limits
        self._renewed = self._looked_at_others = 0.0
        self._running: dict[asyncio.Future[Answer | Later], OutsideCall] = {}

    async def run(self) -> None:
        """For ever. Raises what is no outage."""
        while True:
            try:
                async with await self._connect() as connection:
                    while True:
                        await self._renew(connection)
                        await self._take(connection)
                        await self._finish(connection, await self._wait())
            except Exception as error:
                cause = unavailable_cause(error)
                if cause is None:
                    log.exception("the caller cannot go on")
                    raise
                log.warning("%s unavailable; calls wait", cause)
                await asyncio.sleep(1)

    async def _renew(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if self._running and now > self._renewed + RENEWED_EVERY_S:
            await OutsideCalls(connection).renew(self._running.values(), datetime.now(UTC) + LEASE)
            await connection.commit()
            self._renewed = now

    async def _take(self, connection: Connection) -> None:
        """Begin calls that are due, of each resource as many as it bears."""
        busy = Counter(call.resource for call in self._running.values())
        free = {resource: limit - busy[resource] for resource, limit in self._limits().items()}
        now, room = asyncio.get_running_loop().time(), MAX_CALLS - len(self._running)
        # A share for each, so that one that does not answer leaves room for the others.
        share = max(1, room // max(1, len(free)))
        free = {resource: min(slots, share) for resource, slots in free.items()}
        others = now > self._looked_at_others + OTHERS_EVERY_S
        calls = await OutsideCalls(connection).take(datetime.now(UTC), free, room, LEASE, others)
        self._looked_at_others = now if others else self._looked_at_others
        await connection.commit()
        for call in calls:
            self._running[asyncio.ensure_future(self._ask(call))] = call

    async def _wait(self) -> set[asyncio.Future[Answer | Later]]:
        if not self._running:
            await asyncio.sleep(EVERY_S)
            return set()
        done, _ = await asyncio.wait(self._running, timeout=EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        return done

    async def _finish(self, connection: Connection, done: set[asyncio.Future[Answer | Later]]) -> None:
        """Send what was answered to run-workflows, then forget the calls: a crash between sends it once more."""
        if not done:
            return
        parked, now = OutsideCalls(connection), datetime.now(UTC)
        answers = []
        for task in done:
            call, outcome = self._running.pop(task), _outcome(task)
            if isinstance(outcome, Later) and call.tries < call.call.retries:
                await parked.try_again(call, now + timedelta(seconds=max(outcome.after_s, _backoff(call.tries))))
            else:
                answers.append((call, Answer(error=outcome.error) if isinstance(outcome, Later) else outcome))
        if answers:
            await self._publisher.publish(encode([answer_to(call, answer, now) for call, answer in answers]))
            await parked.answered([call for call, _ in answers], now)
        await connection.commit()


def _outcome(task: asyncio.Future[Answer | Later]) -> Answer | Later:
    """One call must not end all others, whatever a library makes of its answer."""
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        return task.result()
    log.warning("a call failed: %s", type(error).__name__)
    return Answer(error=type(error).__name__)


def _backoff(tries: int) -> float:
    return min(MAX_BACKOFF_S, 0.5 * 2.0 ** min(tries, 8)) * random.uniform(0.5, 1)
