"""Posts deliveries to a webhook: at least once, each profile's in order, with a stable idempotency key, signed."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import aiohttp
import msgspec
from yarl import URL

from processors.connectors.guard import told
from processors.connectors.outside import RETRIED, Reveal, retry_after
from processors.connectors.pacing import Circuit, Pace, backoff
from processors.runner.failures import GAVE_UP, Poison, Unavailable
from schemas.definitions.outbound import Destination
from schemas.origin import derived_id
from schemas.profiles import Delivery
from workflows.signatures import signed

log = logging.getLogger("headwater.dispatch")

#: Profiles served at the same time.
PARALLEL = 16
#: Deliveries remembered as taken: a few batches of all lanes.
REMEMBERED = 20_000


class Webhook:
    """One destination's client. A receiver that is down only delays this destination; it is tried until it answers, or
    as long as the destination says."""

    def __init__(
        self, destination: Callable[[], Destination | None], client: aiohttp.ClientSession, reveal: Reveal
    ) -> None:
        """`destination` gives the definition in force, None while it is removed, paused or off; `client` is for this
        destination alone."""
        self._destination, self._client, self._reveal = destination, client, reveal
        self._slots = asyncio.Semaphore(PARALLEL)
        self._circuit, self._pace = Circuit(), Pace()
        self._encode = msgspec.json.Encoder(decimal_format="number").encode
        #: The last deliveries that were taken: a second try of a batch, or of a part of it, does not send them again.
        self._taken: OrderedDict[tuple[str, int], None] = OrderedDict()
        #: Since when those are tried that were not taken: parts of a batch are no new deliveries.
        self._tried_since: OrderedDict[tuple[str, int], float] = OrderedDict()

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Return when all were taken. Raises Poison where one is refused for good."""
        now = self._in_force()
        newest = latest(deliveries) if now.coalesce else deliveries
        try:
            await self._send_all([one for one in newest if _name(one) not in self._taken], now.batch)
        finally:
            if now.coalesce:
                self._pass_over(deliveries, newest)

    def _pass_over(self, deliveries: Sequence[Delivery], newest: Sequence[Delivery]) -> None:
        """Older changes of who had the newest are as good as taken: a part of the batch that is tried again may have
        them without it."""
        told = {one.profile for one in newest if one.cause == "change" and _name(one) in self._taken}
        self._remember_taken([_name(one) for one in deliveries if one.cause == "change" and one.profile in told])

    async def _send_all(self, wanted: Sequence[Delivery], batch: int) -> None:
        if batch > 1:
            for start in range(0, len(wanted), batch):
                await self._send(wanted[start : start + batch])
            return
        by_profile: dict[str, list[Delivery]] = {}
        for delivery in wanted:
            by_profile.setdefault(delivery.profile, []).append(delivery)
        results = await asyncio.gather(*map(self._in_order, by_profile.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _in_order(self, deliveries: Sequence[Delivery]) -> None:
        async with self._slots:
            for delivery in deliveries:
                await self._send([delivery])

    async def _send(self, deliveries: Sequence[Delivery]) -> None:
        names = list(map(_name, deliveries))
        now = asyncio.get_running_loop().time
        began, tries = min(self._tried_since.setdefault(name, now()) for name in names), 0
        while True:
            patience = self._in_force().give_up_after_s
            until = None if patience is None else began + patience
            try:
                async with self._circuit.turn(until):
                    await self._pace.wait(self._in_force().rate_per_s)
                    # Asked again: while it waited for its turn the destination may have been paused, or have moved.
                    wait = await self._try(self._in_force(), deliveries)
            except TimeoutError as error:
                raise Poison(GAVE_UP, f"after {tries} tries") from error
            if wait is None:
                break
            tries += 1
            if until is not None and now() >= until:
                raise Poison(GAVE_UP, f"after {tries} tries")
            if not self._circuit.is_open:
                await asyncio.sleep(max(wait, backoff(tries)))
        self._remember_taken(names)

    def _remember_taken(self, names: Sequence[tuple[str, int]]) -> None:
        self._taken.update(dict.fromkeys(names))
        for name in names:
            self._tried_since.pop(name, None)
        for remembered in (self._taken, self._tried_since):
            while len(remembered) > REMEMBERED:
                remembered.popitem(last=False)

    def _in_force(self) -> Destination:
        destination = self._destination()
        if destination is None:
            self._tried_since.clear()  # who is paused is not tried
            raise Unavailable("destination removed, paused or off")  # what waits goes on waiting, as the topic keeps it
        return destination

    async def _try(self, destination: Destination, deliveries: Sequence[Delivery]) -> float | None:
        """None where they were taken, else the seconds that the receiver asks to be left alone."""
        is_one = destination.batch == 1
        content = self._encode(deliveries[0] if is_one else deliveries)
        id = deliveries[0].id if is_one else derived_id("batch", *(delivery.id for delivery in deliveries))
        headers = self._headers(destination, id, content)
        try:
            # Of the answer only the status counts, however long it is.
            async with self._client.post(
                URL(str(destination.url), encoded=True),
                data=content,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(destination.timeout_s),
            ) as response:
                return self._judged(destination, response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            log.warning("destination %s: %s", destination.id, told(error))
            self._circuit.failed(0.0)
            return 0.0

    def _headers(self, destination: Destination, id: str, content: bytes) -> dict[str, str]:
        """Raises Unavailable where a secret cannot be opened, or is none to sign with: that is no delivery's fault."""
        try:
            return {
                **{name: self._reveal(secret) for name, secret in destination.headers.items()},
                "content-type": "application/json",
                "idempotency-key": id,
                **signed(id, int(time.time()), content, map(self._reveal, destination.signing)),
            }
        except ValueError as error:
            raise Unavailable("destination's secrets") from error

    def _judged(self, destination: Destination, response: aiohttp.ClientResponse) -> float | None:
        if response.status in RETRIED or response.status >= 500:
            log.warning("destination %s answered %d", destination.id, response.status)
            wait = retry_after(response.headers.get("retry-after", ""))
            self._circuit.failed(wait)
            return wait
        self._circuit.succeeded()
        if 200 <= response.status < 300:
            return None
        raise Poison("refused_by_destination", f"http {response.status}")


def _name(delivery: Delivery) -> tuple[str, int]:
    return delivery.id, delivery.again


def latest(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Of each profile's changes the one of the highest version; all that workflows sent."""
    newest: dict[str, Delivery] = {}
    for one in deliveries:  # what is sent once more comes behind what is newer
        if one.cause == "change" and one.version >= newest.get(one.profile, one).version:
            newest[one.profile] = one
    return [one for one in deliveries if one.cause != "change" or newest[one.profile] is one]
