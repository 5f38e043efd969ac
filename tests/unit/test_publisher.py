"""How lanes and the door write to a Kafka that is far away: librdkafka's own stand-in, which answers late."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from ingest.sink import Sink
from processors.runner.publisher import MESSAGE_BYTES, PORTION_BYTES, FencedPublisher, Publisher, portions
from schemas.codecs import Message

ANSWERS_AFTER_S = 0.3
FAR = {"test.mock.num.brokers": 1, "test.mock.broker.rtt": int(1000 * ANSWERS_AFTER_S), "log_level": 0}
#: Three times as much as goes into one request.
MESSAGES = [Message("some", b"key", b"%06d" % n + b"x" * 1000) for n in range(3000)]


async def waits_idly(write: Callable[[], Awaitable[object]]) -> bool:
    """Whether the process rests while it waits for several answers in a row."""
    began, worked = time.monotonic(), time.process_time()
    await write()
    took, worked = time.monotonic() - began, time.process_time() - worked
    assert took > 3 * ANSWERS_AFTER_S
    return worked < took / 4


async def test_who_publishes_more_than_a_request_takes_keeps_no_core_busy_while_it_waits() -> None:
    publisher = Publisher(FAR)
    await publisher.publish(MESSAGES[:1])
    assert await waits_idly(lambda: publisher.publish(MESSAGES))
    publisher.close()


async def test_nor_does_who_publishes_behind_a_fence() -> None:
    publisher = FencedPublisher(FAR, "", "lane")
    await publisher.open()
    await publisher.publish(MESSAGES[:1])
    assert await waits_idly(lambda: publisher.publish(MESSAGES))
    await publisher.release()


@pytest.mark.parametrize(("payloads", "bytes_each"), [(40, 80_000), (1000, 3300)], ids=["large", "small"])
async def test_nor_does_the_door(payloads: int, bytes_each: int) -> None:
    sink = Sink(FAR, "tracks")
    await sink.write("key", b"{}", "http")
    writes = [sink.write("key", b"x" * bytes_each, "http") for _ in range(payloads)]
    assert await waits_idly(lambda: asyncio.gather(*writes))
    await sink.close()


@pytest.mark.parametrize(
    ("sizes", "together"),
    [
        ([PORTION_BYTES - MESSAGE_BYTES], [1]),
        ([2 * PORTION_BYTES], [1]),
        ([10, 2 * PORTION_BYTES, 10, 20], [1, 1, 2]),
        (3 * [PORTION_BYTES // 2 - MESSAGE_BYTES], [2, 1]),
        (3 * [PORTION_BYTES // 2], [1, 1, 1]),
        (10_000 * [0], [9500, 500]),
    ],
)
def test_a_portion_is_as_much_as_fits_and_all_are_there_in_order(sizes: list[int], together: list[int]) -> None:
    messages = [Message("some", None, b"x" * size) for size in sizes]
    found = list(portions(messages))
    assert [len(portion) for portion in found] == together
    assert [message for portion in found for message in portion] == messages
