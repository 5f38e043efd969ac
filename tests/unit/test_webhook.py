"""Deliveries to a webhook: each profile's in order, none sent again once it was taken."""

import httpx
import pytest

from processors.connectors.webhook import Webhook
from processors.runner.failures import Poison, Unavailable
from schemas.definitions.outbound import Destination
from schemas.definitions.secret import Secret
from schemas.profiles import Delivery


def reveal(secret: Secret) -> str:
    return secret.value or ""


def deliveries(count: int) -> list[Delivery]:
    return [Delivery(id=f"d{n}", destination="crm", profile=f"p{n % 4}", version=n, body={}) for n in range(count)]


def webhook(answers: dict[str, int], posts: list[str]) -> Webhook:
    def answer(request: httpx.Request) -> httpx.Response:
        posts.append(request.headers["idempotency-key"])
        return httpx.Response(answers.get(posts[-1], 200))

    definition = Destination(id="crm", type="webhook", url="http://crm.example/")
    return Webhook(lambda: definition, httpx.AsyncClient(transport=httpx.MockTransport(answer)), reveal)


async def test_what_was_taken_is_not_sent_again_when_a_part_of_the_batch_is_tried_again():
    posts: list[str] = []
    hook = webhook({"d9": 400}, posts)
    with pytest.raises(Poison):
        await hook.deliver(deliveries(16))
    for half in (deliveries(16)[:8], deliveries(16)[10:]):
        await hook.deliver(half)
    taken = [id for id in posts if id != "d9"]
    assert len(taken) == len(set(taken))


async def test_a_destination_that_was_removed_keeps_its_deliveries_waiting():
    hook = Webhook(lambda: None, httpx.AsyncClient(), reveal)
    with pytest.raises(Unavailable):
        await hook.deliver(deliveries(1))
