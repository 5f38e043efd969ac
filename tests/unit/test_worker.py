"""What a worker tells its consumer about its stage."""

import asyncio
import socket
from typing import Any

import pytest

from processors.runner.installation import Installation
from processors.runner.worker import STOP_S, StageWorker
from processors.topology import PIPELINE


@pytest.mark.parametrize(("name", "seconds"), [("validate", 0.05), ("archive", 0.5), ("identify", 0.0)])
async def test_who_reads_what_comes_from_outside_lets_more_come_and_nobody_behind_it_waits(name: str, seconds: float):
    """Validate gathers single events for all stages after it; the archive looks twenty times while it gathers."""
    assert worker(name, "127.0.0.1:1")._app.fetch_every_s == seconds


def worker(name: str, kafka: str) -> StageWorker:
    nothing: Any = None
    installation = Installation(kafka, "", nothing, _Admin(), lambda key: nothing, lanes=1)
    [stage] = [stage for stage in PIPELINE if stage.name == name]
    return StageWorker(stage, installation, lambda connection: {})


async def test_a_worker_that_waits_for_an_answer_of_kafkas_before_it_has_begun_ends_when_it_is_told_to():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stop = asyncio.Event()
        running = asyncio.create_task(worker("validate", f"127.0.0.1:{silent.getsockname()[1]}").run(stop))
        asked, _ = await asyncio.to_thread(silent.accept)
        with asked:
            stop.set()
            async with asyncio.timeout(STOP_S + 10):
                await running


def test_a_worker_does_not_wait_longer_for_its_unused_producer_than_for_its_consumer():
    async def waits() -> tuple[float, float]:
        conf = worker("validate", "127.0.0.1:1")._app.conf
        return conf.producer_request_timeout, conf.broker_request_timeout

    producer_s, consumer_s = asyncio.run(waits())
    assert producer_s == consumer_s < 30


class _Admin:
    async def topic_id(self, name: str) -> str:
        return "id"

    async def beginning(self, name: str, partition: int) -> int:
        return 0

    async def committed_by(self, group: str, name: str, partition: int) -> int | None:
        return None
