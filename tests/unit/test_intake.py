"""What may be under way at once on the way from a request to Kafka."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from ingest.intake import LARGE_BYTES, Intake, Read
from ingest.numbers import Numbers
from ingest.refused import Refused
from ingest.request import Request, Room
from ingest.service import read
from schemas.definitions.inbound import Source
from tests.unit.making import definitions
from workflows.identity import ProfileIds

SHOP = Source(id="shop")
NOTHING: Any = None


class Kafka:
    """In the place of a sink: takes everything at once."""

    def write(self, *record: Any) -> asyncio.Future[tuple[int, int]]:
        future = asyncio.get_running_loop().create_future()
        future.set_result((0, 7))
        return future


class Everybody:
    """In the place of who judges: lets all in."""

    def admit(self, *asked: Any) -> None: ...


def intake(places: int) -> Intake:
    kafka: Any = Kafka()
    everybody: Any = Everybody()
    return Intake(kafka, everybody, ProfileIds(b"0" * 32), places, 0, Numbers())


def request_in(room: Room) -> Request:
    scope: Any = SimpleNamespace(method="POST", path="/track", headers={})
    return Request("id", scope, NOTHING, 0, NOTHING, room)


def payload(size: int) -> Read:
    events = [{"type": "view", "properties": {"text": "x" * 100_000}} for _ in range(size // 100_000 + 1)]
    body = json.dumps({"source": {"id": "shop"}, "session": {"id": "s"}, "events": events}).encode()
    return body, read(body)


async def taken(intake: Intake, room: Room, *payloads: Read) -> str:
    """What becomes of a request."""
    request = request_in(room)
    try:
        await intake.take(request, SHOP, "http", payloads, definitions())
        return "taken"
    except Refused as refused:
        return refused.code
    finally:
        request.end()


async def test_a_large_body_has_its_place_while_it_is_checked_and_who_finds_none_is_refused_at_once():
    full, room, large = intake(places=1), Room(10_000_000), payload(LARGE_BYTES)
    assert await asyncio.gather(*(taken(full, room, large) for _ in range(3))) == ["taken", *2 * ["overloaded"]]
    assert await taken(full, room, large) == "taken"


async def test_what_became_of_a_body_takes_room_as_long_as_it_is_under_way():
    """A batch's context is written into each of its payloads: they may be hundreds of times what was sent."""
    free, room, large = intake(places=100), Room(1_000_000), payload(LARGE_BYTES)
    assert await taken(free, room, *5 * [large]) == "overloaded"
    assert await taken(free, room, *2 * [large]) == "taken"
    assert room.left == 1_000_000
