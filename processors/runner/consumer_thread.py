"""Faust's thread around aiokafka's consumer, with what is changed of it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import aiokafka
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import WorkerThread

from processors.runner.brokers import find_topics, outlive_connections
from processors.runner.fetched import hand_on_lean
from processors.runner.pace import LARGE_RECORDS

#: How long the broker may hold a fetch that has nothing: also how long a resumed partition may wait behind it.
FETCH_WAIT_MS = 250
#: What was written to several partitions together comes one after another, a request each: how long the broker waits
#: for the rest of it.
GATHER_MS = 5
#: A partition that has brought nothing for so long is not waited for.
LATELY_S = 0.3
#: Fewer records that a fetch has left are no sign that fetches bring too little.
LEFT_RECORDS = 8
#: How long a commit may wait for a coordinator, and for its answer.
COMMIT_S = 10.0

Positions = Mapping[TP, int]


class _Thread(WorkerThread):
    def stop(self) -> None:
        """Nobody waits here, in the loop of the process: one that did not end would keep it for ever."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Fetches when it is asked to, commits what it can, and lets neither end the worker."""

    Worker = _Thread
    #: Whether Kafka has a large batch more of a partition than the last fetch could bring, or as much again.
    behind = False
    #: Whether lanes do small batches together, so that waiting for each other's is worth while.
    gathers = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: When a partition last brought something.
        self._brought: dict[TP, float] = {}

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        """As Faust makes it, but reading committed records only, with short fetches, always able to find brokers."""
        made = super()._create_worker_consumer(transport)
        find_topics(made._client)
        outlive_connections(made._client)
        made._isolation_level = "read_committed"
        made._fetch_max_wait_ms = FETCH_WAIT_MS
        return made

    async def on_start(self) -> None:
        await super().on_start()
        hand_on_lean(self._ensure_consumer()._fetcher)

    def close(self) -> None:
        """Nothing: this thread stops its consumer as it ends. Where a rebalance comes as the worker stops, Faust's
        would close the connections from another thread, which uvloop does not survive."""

    async def _fetch_records(
        self, consumer: aiokafka.AIOKafkaConsumer, active_partitions: set[TP], *args: Any, **kwargs: Any
    ) -> Mapping[TP, list[Any]]:
        """What has come of these partitions; few records of some of them, with what comes of the others just then."""
        found = await self._ask(consumer, active_partitions, *args, **kwargs)
        if self.gathers and found and sum(map(len, found.values())) < LARGE_RECORDS:
            now = monotonic()
            others = {tp for tp in active_partitions - found.keys() if now - self._brought.get(tp, 0.0) < LATELY_S}
            if others:
                found |= await self._ask_briefly(consumer, others)
            self._brought |= dict.fromkeys(found, now)
        known = consumer._subscription
        self.behind = any(
            known.is_assigned(tp)
            # What is not committed yet cannot be fetched.
            and (consumer.last_stable_offset(tp) or 0) - records[-1].offset
            > min(LARGE_RECORDS, max(LEFT_RECORDS, len(records)))
            for tp, records in found.items()
        )
        return found

    async def _ask(
        self, consumer: aiokafka.AIOKafkaConsumer, partitions: set[TP], *args: Any, **kwargs: Any
    ) -> dict[TP, list[Any]]:
        """Ask Kafka now, for all of these together. By itself aiokafka asks again as soon as it has handed records on:
        it would get the few that have come by then, and what comes in the rest after that a rest later."""
        known = consumer._subscription
        for tp in partitions & known.assigned_partitions():
            known.resume(tp)
        try:
            return dict(await super()._fetch_records(consumer, partitions, *args, **kwargs))
        finally:
            for tp in known.assigned_partitions():
                known.pause(tp)

    async def _ask_briefly(self, consumer: aiokafka.AIOKafkaConsumer, partitions: set[TP]) -> dict[TP, list[Any]]:
        """One answer with all that has come by its end, however much that is."""
        fetcher = consumer._fetcher
        usual = fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes
        fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = GATHER_MS, fetcher._fetch_max_bytes
        try:
            return await self._ask(consumer, partitions, 2 * GATHER_MS / 1000, consumer._max_poll_records)
        finally:
            fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = usual

    def what_broke(self) -> str | None:
        """What of aiokafka's client works no more; may be asked from any thread. It tells those who fetch in its own
        way, which is not Faust's: a worker would stand still, and keep its partitions."""
        consumer = self._consumer
        if consumer is None or not isinstance(consumer._coordinator, GroupCoordinator) or self._is_closing(consumer):
            return None
        if (error := consumer._coordinator._pending_exception) is not None:
            return f"the group's coordinator: {error!r}"
        tasks = {
            "what keeps it in its group": consumer._coordinator._coordination_task,
            "what fetches": consumer._fetcher._fetch_task,
            "what asks for the state of the cluster": consumer._client._sync_task,
        }
        return next((f"{name} has ended" for name, task in tasks.items() if task is not None and task.done()), None)

    def _is_closing(self, consumer: aiokafka.AIOKafkaConsumer) -> bool:
        return bool(self.should_stop or consumer._closed or consumer._coordinator._closing.done())

    async def seek_to_committed(self) -> Positions:
        """What Kafka has committed for what is assigned, 0 for nothing. It seeks nothing: BatchConsumer does."""
        found: Positions = await self.call_thread(self._committed)
        return found

    async def _committed(self) -> Positions:
        consumer = self._ensure_consumer()
        partitions = list(consumer.assignment())
        found = await consumer._coordinator.fetch_committed_offsets(partitions)
        return {TP(*tp): found[tp].offset if tp in found else 0 for tp in partitions}

    async def _seek_wait(self, consumer: aiokafka.AIOKafkaConsumer, partitions: Positions) -> None:
        """As Faust's; what was revoked meanwhile needs no seek, and must not end the worker."""
        assigned = consumer.assignment()
        with suppress(IllegalStateError):  # revoked while the seek is under way: the next assignment seeks anew
            await super()._seek_wait(consumer, {tp: offset for tp, offset in partitions.items() if tp in assigned})

    async def _commit(self, offsets: Positions) -> bool:
        """Commits only inform tools that show lag: one that fails must not end the worker, as Faust's would. Each is
        tried once, for Faust commits anew every second. aiokafka would try for ever, as of the assignment that it was
        asked in, and leave behind what fails once nobody waits for it any more."""
        assigned = self.assignment()
        mine = {tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in assigned}
        if not mine:
            return False
        coordinator = self._ensure_consumer()._coordinator
        try:
            async with asyncio.timeout(COMMIT_S):
                await coordinator.ensure_coordinator_known()
                if coordinator._rejoin_needed_fut.done():  # a late refusal would throw the new membership away
                    return False
                await coordinator._do_commit_offsets(None, mine)
        except (KafkaError, TimeoutError):
            return False
        return True
