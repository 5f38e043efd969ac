"""What a request's body takes of the door's room, until it is answered."""

import gzip
from types import SimpleNamespace
from typing import Any

import pytest

from ingest.refused import Refused
from ingest.request import Request, Room
from schemas.limits import MAX_BATCH_BYTES, SMALL_BODY_BYTES

HALF = 3_000_000
ZIPPED = gzip.compress(bytes(HALF))
SMALL = gzip.compress(bytes(SMALL_BODY_BYTES))


def request_in(room: Room) -> Request:
    scope: Any = SimpleNamespace(method="POST", path="/v1/batch", headers={})
    nothing: Any = None
    return Request("id", scope, nothing, 0, nothing, room)


def test_a_few_bytes_that_inflate_to_millions_take_room_for_millions():
    room = Room(HALF)
    request_in(room).inflated(ZIPPED, MAX_BATCH_BYTES)
    with pytest.raises(Refused) as refused:
        request_in(room).inflated(ZIPPED, MAX_BATCH_BYTES)
    assert (refused.value.status, refused.value.code, refused.value.headers) == (
        503,
        "overloaded",
        [("retry-after", "1")],
    )


def test_small_bodies_are_inflated_where_there_is_no_room():
    room = Room(0)
    assert all(request_in(room).inflated(SMALL, MAX_BATCH_BYTES) for _ in range(100))


def test_others_have_the_room_of_a_request_that_is_answered():
    room = Room(HALF)
    for _ in range(3):
        request = request_in(room)
        request.inflated(ZIPPED, MAX_BATCH_BYTES)
        request.end()
    assert room.left == HALF


def test_what_inflates_to_too_much_takes_no_room():
    room = Room(HALF)
    with pytest.raises(Refused) as refused:
        request_in(room).inflated(ZIPPED, 1_000_000)
    assert (refused.value.code, room.left) == ("body_too_large", HALF)
