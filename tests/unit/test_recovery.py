"""Between an assignment and the first fetch."""

import asyncio
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from processors.runner.recovery import Tables
from processors.runner.transport import BatchApp

PLACE = TP("tracks", 0)


class _Consumer:
    """As much of a consumer as is asked before the first fetch; whoever asks where to begin waits for `answered`."""

    def __init__(self) -> None:
        self.answered, self.flows = asyncio.Event(), asyncio.Event()

    def assignment(self) -> set[TP]:
        return {PLACE}

    def resume_partitions(self, partitions: set[TP]) -> None:
        """They have not been paused."""

    async def perform_seek(self) -> None:
        await self.answered.wait()

    def resume_flow(self) -> None:
        self.flows.set()


async def test_a_worker_that_waits_long_for_its_positions_begins_when_it_has_them():
    answer_s = 0.05
    app: Any = BatchApp(
        "x", broker="kafka://127.0.0.1:1", store="memory://", TableManager=Tables, broker_session_timeout=answer_s / 2
    )
    app.conf.broker_request_timeout = answer_s
    consumer = app._consumer = app.consumer = _Consumer()

    async def begun() -> bool:
        return True

    app.fetcher = app._fetcher = SimpleNamespace(maybe_start=begun)
    recovery = app.tables.recovery
    recovery.recovery_delay = 0
    running = asyncio.create_task(recovery._execute_task(recovery._restart_recovery(recovery)))
    try:
        app.consumer_generation_id = 1
        await recovery.on_rebalance({PLACE}, set(), {PLACE}, 1)
        await asyncio.wait({running}, timeout=4 * answer_s)
        consumer.answered.set()
        async with asyncio.timeout(10):
            await consumer.flows.wait()
    finally:
        running.cancel()
