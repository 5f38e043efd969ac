"""Deliveries to a webhook: each profile's in order, none sent again once it was taken, as fast as it bears."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from processors.connectors.guard import Guard, guarded_session
from processors.connectors.webhook import Webhook, latest, signed
from processors.runner.failures import Poison, Unavailable
from schemas.definitions.outbound import Destination
from schemas.definitions.secret import Secret
from schemas.profiles import Delivery


def reveal(secret: Secret) -> str:
    return secret.value or ""


def deliveries(count: int, profiles: int = 4) -> list[Delivery]:
    return [
        Delivery(id=f"d{n}", destination="crm", profile=f"p{n % profiles}", version=n, body={}) for n in range(count)
    ]


@dataclass
class Receiver:
    """A webhook's other end, and the client that calls it."""

    client: Any
    url: str = ""
    #: Says what to answer to a delivery's id.
    answer: Callable[[str], int] = lambda id: 200
    #: Idempotency keys, and when each came.
    posts: list[tuple[str, float]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def ids(self) -> list[str]:
        return [id for id, _ in self.posts]

    def hook(self, **fields: Any) -> Webhook:
        definition = Destination(id="crm", type="webhook", url=self.url, **fields)
        return Webhook(lambda: definition, self.client, reveal)

    async def until(self, posts: int) -> None:
        """Return when so many have come."""
        async with self.came:
            await self.came.wait_for(lambda: len(self.posts) >= posts)

    async def take(self, request: web.Request) -> web.Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        body = await request.json()
        id = request.headers["idempotency-key"]
        self.posts.append((id, time.monotonic()))
        self.paths.append(request.path)
        self.at_once -= 1
        async with self.came:
            self.came.notify_all()
        assert isinstance(body, list) or body["id"] == id
        return web.Response(status=self.answer(id), text="x" * 100_000)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with guarded_session(Guard(["127.0.0.0/8"])) as client:
        found = Receiver(client)
        app = web.Application()
        app.router.add_post("/{path:.*}", found.take)
        async with TestServer(app, host="127.0.0.1") as server:
            found.url = str(server.make_url("/"))
            yield found


async def test_what_was_taken_is_not_sent_again_when_a_part_of_the_batch_is_tried_again(receiver: Receiver):
    receiver.answer = lambda id: 400 if id == "d9" else 200
    hook = receiver.hook()
    with pytest.raises(Poison):
        await hook.deliver(deliveries(16))
    for half in (deliveries(16)[:8], deliveries(16)[10:]):
        await hook.deliver(half)
    taken = [id for id in receiver.ids if id != "d9"]
    assert len(taken) == len(set(taken))


async def test_no_older_change_comes_after_the_latest_though_a_part_of_the_batch_is_tried_again(receiver: Receiver):
    receiver.answer = lambda id: 400 if id == "d3" else 200
    hook = receiver.hook(coalesce=True)
    changes = [*deliveries(3, profiles=1), msgspec.structs.replace(deliveries(4)[3], profile="refused")]
    with pytest.raises(Poison):
        await hook.deliver(changes)
    for part in (changes[:2], changes[2:3]):
        await hook.deliver(part)
    assert sorted(receiver.ids) == ["d2", "d3"]


async def test_a_destination_that_was_removed_keeps_its_deliveries_waiting(receiver: Receiver):
    with pytest.raises(Unavailable):
        await Webhook(lambda: None, receiver.client, reveal).deliver(deliveries(1))


async def test_each_profiles_deliveries_come_in_order_though_some_are_tried_again(receiver: Receiver):
    left = Counter({"d1": 1, "d6": 2})

    def answer(id: str) -> int:
        left[id] -= 1
        return 503 if left[id] >= 0 else 200

    receiver.answer = answer
    await receiver.hook().deliver(deliveries(12))
    taken = list(dict.fromkeys(reversed(receiver.ids)))[::-1]  # where each was at last
    for profile in range(4):
        assert [id for id in taken if int(id[1:]) % 4 == profile] == [f"d{n}" for n in range(profile, 12, 4)]


async def test_a_receiver_that_is_dead_is_asked_by_one_call_at_a_time(receiver: Receiver):
    receiver.answer = lambda id: 500
    task = asyncio.create_task(receiver.hook().deliver(deliveries(16, profiles=16)))
    await receiver.until(17)
    receiver.most_at_once = 0
    await receiver.until(18)
    assert receiver.most_at_once == 1
    pauses = [b - a for (_, a), (_, b) in pairwise(receiver.posts[-3:])]
    assert min(pauses) >= 0.25
    receiver.answer = lambda id: 200
    await task
    assert set(receiver.ids[-16:]) == {f"d{n}" for n in range(16)}


@pytest.mark.timeout(30)
async def test_all_are_given_up_in_time_though_a_dead_receiver_is_hardly_asked(receiver: Receiver):
    receiver.answer = lambda id: 500
    hook = receiver.hook(give_up_after_s=0.3)
    calls = [hook.deliver([delivery]) for delivery in deliveries(80, profiles=80)]
    gave_up = await asyncio.gather(*calls, return_exceptions=True)
    assert {str(error) for error in gave_up} == {"destination_gave_up"}
    assert len(receiver.ids) < 60


async def test_time_for_which_a_destination_was_paused_is_no_time_for_which_it_was_tried(receiver: Receiver):
    receiver.answer = lambda id: 500
    hook = receiver.hook(give_up_after_s=0.5)
    in_force, paused = hook._destination, False
    hook._destination = lambda: None if paused else in_force()
    trying = asyncio.create_task(hook.deliver(deliveries(8, profiles=8)))
    await receiver.until(8)  # so many failures open the circuit
    paused = True
    with pytest.raises((Unavailable, Poison)):
        await trying
    with pytest.raises(Unavailable, match="paused"):
        await hook.deliver(deliveries(8, profiles=8))
    await asyncio.sleep(0.6)  # longer than it may be tried
    paused, receiver.answer = False, lambda id: 200
    await hook.deliver(deliveries(8, profiles=8))
    assert set(receiver.ids[-8:]) == {f"d{n}" for n in range(8)}


async def test_one_delivery_that_fails_does_not_hold_up_others(receiver: Receiver):
    receiver.answer = lambda id: 500 if id == "d0" else 200
    with pytest.raises(Poison, match="destination_gave_up"):
        await receiver.hook(give_up_after_s=1).deliver(deliveries(8, profiles=8))
    assert {f"d{n}" for n in range(1, 8)} <= set(receiver.ids)
    assert receiver.ids.count("d0") >= 2


async def test_calls_are_spread_as_the_rate_says(receiver: Receiver):
    begun = time.monotonic()
    await receiver.hook(rate_per_s=50).deliver(deliveries(11, profiles=11))
    assert max(at for _, at in receiver.posts) - begun >= 0.2  # the first may have come late


@pytest.mark.timeout(10)
async def test_who_is_paused_or_moved_while_calls_wait_for_their_turn_is_called_no_more_there(receiver: Receiver):
    hook = receiver.hook(rate_per_s=10)
    in_force = hook._destination()
    assert in_force is not None
    moved = in_force.model_copy(update={"url": URL(receiver.url) / "moved"})
    hook._destination = lambda: moved if receiver.posts else in_force
    await hook.deliver(deliveries(2, profiles=2))
    assert receiver.paths == ["/", "/moved"]
    hook._destination = lambda: None if len(receiver.posts) > 2 else in_force
    with pytest.raises(Unavailable, match="paused"):
        await hook.deliver([msgspec.structs.replace(one, again=1) for one in deliveries(4)])
    assert len(receiver.posts) == 3


async def test_batches_hold_all_of_it_in_order_under_a_key_of_their_own(receiver: Receiver):
    await receiver.hook(batch=5).deliver(deliveries(12))
    assert len(receiver.posts) == len(set(receiver.ids)) == 3
    before = receiver.ids
    await receiver.hook(batch=5).deliver(deliveries(12))
    assert receiver.ids[3:] == before


def test_of_each_profiles_changes_the_latest_stays_and_all_that_was_sent():
    changes = deliveries(6, profiles=2)
    sent = Delivery(id="s", destination="crm", profile="p0", version=1, body={}, cause="send")
    assert [one.id for one in latest([*changes[:3], sent, *changes[3:]])] == ["s", "d4", "d5"]


def test_the_latest_change_is_the_one_of_the_highest_version_though_older_ones_are_sent_again_behind_it():
    waiting = deliveries(6, profiles=1)
    again = [msgspec.structs.replace(one, again=1) for one in waiting[:5]]
    assert latest([*waiting[5:], *again]) == waiting[5:]
    assert latest([*waiting[:5], *again]) == again[4:]


def test_without_a_secret_nothing_is_signed():
    assert signed("d", 1, json.dumps({}).encode(), []) == {}
