"""The door's own answers, where what it asks takes its time. The rest is tested on a real one."""

import asyncio
import threading
from typing import Any

import pytest

from ingest.door import Door
from ingest.numbers import Numbers
from ingest.refused import Refused
from ingest.replies import Reply

NOTHING: Any = None


class Kafka:
    """Says whether it is there only once it `may` answer; counts who asked."""

    def __init__(self, there: bool = True) -> None:
        self.there, self.asked, self.may = there, 0, threading.Event()

    def answer(self) -> bool:
        self.asked += 1
        assert self.may.wait(10)
        return self.there


def door_before(kafka: Kafka) -> Door:
    definitions: Any = object()
    return Door(NOTHING, lambda: definitions, kafka.answer, NOTHING, Numbers())


async def ask(door: Door, times: int) -> list[asyncio.Task[Reply]]:
    """All are under way when this returns."""
    asking = [asyncio.create_task(door._ready()) for _ in range(times)]
    await asyncio.sleep(0)
    return asking


async def test_however_many_ask_whether_the_door_is_ready_large_bodies_need_not_wait_for_them() -> None:
    kafka = Kafka(there=False)
    asking = await ask(door_before(kafka), 200)
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(lambda: "checked") == "checked"
    kafka.may.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert {one.code for one in answers if isinstance(one, Refused)} == {"kafka_unavailable"}
    assert (len(answers), kafka.asked) == (200, 1)


async def test_who_asks_again_later_hears_how_it_is_then() -> None:
    kafka = Kafka(there=False)
    kafka.may.set()
    door = door_before(kafka)
    with pytest.raises(Refused):
        await door._ready()
    kafka.there = True
    assert (await door._ready())[0] == 200


async def test_who_goes_away_while_it_is_asked_takes_nobody_else_s_answer_along() -> None:
    kafka = Kafka()
    gone, stays = await ask(door_before(kafka), 2)
    gone.cancel()
    await asyncio.wait([gone])
    kafka.may.set()
    assert (await stays)[0] == 200
