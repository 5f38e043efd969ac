"""Posts deliveries to a webhook: at least once, each profile's in order, with a stable idempotency key."""

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence

import httpx
import msgspec

from processors.connectors.outside import RETRIED, Reveal, retry_after
from processors.runner.failures import Poison, Unavailable
from schemas.definitions.outbound import Destination
from schemas.profiles import Delivery

log = logging.getLogger("headwater.dispatch")

MAX_BACKOFF_S = 30.0
#: Profiles served at the same time.
PARALLEL = 16
#: Deliveries remembered as taken: a few batches of all lanes.
REMEMBERED = 20_000


class Webhook:
    """One destination's client. A receiver that is down only delays this destination; it is tried until it answers."""

    def __init__(
        self, destination: Callable[[], Destination | None], client: httpx.AsyncClient, reveal: Reveal
    ) -> None:
        """`destination` gives the definition in force; `client` is for this destination alone."""
        self._destination, self._client, self._reveal = destination, client, reveal
        self._slots = asyncio.Semaphore(PARALLEL)
        self._encode = msgspec.json.Encoder(decimal_format="number").encode
        #: The last deliveries that were taken: a second try of a batch, or of a part of it, does not send them again.
        self._taken: OrderedDict[str, None] = OrderedDict()

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Return when all were taken. Raises Poison where one is refused for good."""
        by_profile: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_profile.setdefault(delivery.profile, []).append(delivery)
        results = await asyncio.gather(*map(self._in_order, by_profile.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _in_order(self, deliveries: Sequence[Delivery]) -> None:
        async with self._slots:
            for delivery in deliveries:
                if delivery.id not in self._taken:
                    await self._send(delivery)
                    self._taken[delivery.id] = None
                    if len(self._taken) > REMEMBERED:
                        self._taken.popitem(last=False)

    async def _send(self, delivery: Delivery) -> None:
        tries = 0
        while True:
            wait = await self._try(delivery)
            if wait is None:
                return
            tries += 1
            backoff = min(MAX_BACKOFF_S, 0.5 * 2 ** min(tries, 7)) * random.uniform(0.5, 1)
            await asyncio.sleep(max(wait, backoff))

    async def _try(self, delivery: Delivery) -> float | None:
        """None where it was taken, else the seconds that the receiver asks to be left alone."""
        destination = self._destination()
        if destination is None:
            raise Unavailable("destination removed")  # its deliveries wait; the topic's retention ends them
        headers = {
            **{name: self._reveal(secret) for name, secret in destination.headers.items()},
            "content-type": "application/json",
            "idempotency-key": delivery.id,
        }
        try:
            response = await self._client.post(
                str(destination.url), content=self._encode(delivery), headers=headers, timeout=destination.timeout_s
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning("destination %s: %s", destination.id, type(error).__name__)
            return 0.0
        if response.is_success:
            return None
        if response.status_code in RETRIED or response.status_code >= 500:
            log.warning("destination %s answered %d", destination.id, response.status_code)
            return retry_after(response.headers.get("retry-after", ""))
        raise Poison("refused_by_destination", f"http {response.status_code}")
