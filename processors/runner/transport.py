"""Feeds Faust one event per partition batch instead of one per record, and lets PostgreSQL say where reading begins.

Faust hands records on one by one, at about fifteen times the cost. With a whole batch as one message its rules are: one
agent task, acknowledgement in offset order, and no exception may leave the agent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import faust
import uvloop
from faust.app.base import BootStrategy
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from processors.runner.consumer_thread import FETCH_WAIT_MS, ConsumerThread, Positions
from processors.runner.failures import Unavailable
from processors.runner.pace import MAX_WAIT_S, Pace

#: How old the knowledge of a topic's id may be, in seconds. Reading it after each fetch would cost a request each.
TOPIC_ID_AGE_S = 1.0
RETRY_S = 0.5
#: How often to look whether the client still works.
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Batch:
    """Records of one partition, in order. `start` is the position that was read from: what lies between it and the
    first record does not exist (compacted, or transaction markers), unless the log begins later."""

    tp: TP
    start: int
    records: list[Any]
    topic_id: str

    @property
    def end(self) -> int:
        """The position behind the last record."""
        return int(self.records[-1].offset) + 1


class BatchConsumer(driver.Consumer):
    """Yields a Batch per partition and fetch. All seeks happen between two fetches, so positions cannot be mistaken."""

    app: "BatchApp"
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._starts: dict[TP, int] = {}
        self._seeks: dict[TP, int] = {}
        self._stored: dict[TP, int] = {}
        #: What Kafka is known to have committed. Faust counts commits that failed too, and where lanes begin.
        self._told: dict[TP, int] = {}
        self._topic_ids: dict[str, tuple[str, float]] = {}
        self._resumed = asyncio.Event()
        #: Lanes that had enough for longer than they are waited for, and still have.
        self._slow: set[TP] = set()
        self.pace = Pace()

    def _new_consumer_thread(self) -> ConsumerThread:
        made = ConsumerThread(self, loop=self.loop, thread_loop=uvloop.new_event_loop(), beacon=self.beacon)
        made.gathers = self.app.joins_lanes
        return made

    @Service.task
    async def _end_where_the_client_broke(self) -> None:
        while not self.should_stop:
            if (broken := self._thread.what_broke()) is not None:
                await self.crash(RuntimeError(broken))
            await self.sleep(LOOK_EVERY_S)

    def request_seek(self, tp: TP, offset: int) -> None:
        """Read on from this offset, from the next fetch on."""
        self._seeks[tp] = offset

    def stored(self, tp: TP, next_offset: int) -> None:
        """PostgreSQL has everything below this offset: what Kafka is told, for tools that show lag."""
        self._stored[tp] = next_offset
        self._acked[tp]  # Faust asks for offsets of the partitions that this names

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self._slow.difference_update(tps)
        self._resumed.set()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """What lanes had stored was theirs; those that begin now tell of themselves, before or after the seeks."""
        self._stored.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def seek_to_committed(self) -> Positions:
        """After every assignment: begin where PostgreSQL says. Where it cannot say, lanes find out and seek back."""
        committed = await self._thread.seek_to_committed()
        if not committed:
            return {}
        stored = await self.app.stored_positions(set(committed))
        wanted = {tp: stored.get(tp, offset) for tp, offset in committed.items()}
        await self.seek_wait(wanted)
        self._starts.update(wanted)
        self._seeks.clear()
        self._told = dict(committed)
        return wanted

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109
        await self.pace.rest()
        if self._thread.behind:
            await self._all_want_more()
        generation = self.app.consumer_generation_id
        if not self.flow_active:
            await self.can_resume_flow.wait()
        if self._seeks:
            seeks, self._seeks = self._seeks, {}
            mine = {tp: offset for tp, offset in seeks.items() if tp in self.assignment()}
            await self.seek_wait(mine)
            self._starts.update(mine)
        active = set(self._get_active_partitions())
        if not active:
            self._resumed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._resumed.wait()
            return
        # Who wants more meanwhile waits for the end of it.
        patience_s = min(timeout, FETCH_WAIT_MS / 1000) if self._paused_partitions else timeout
        fetched = await self._getmany(active_partitions=active, timeout=patience_s)
        if self.should_stop or not fetched:
            return
        brought = sum(map(len, fetched.values()))
        self.pace.fetched(brought, len(fetched), self.app.fetch_every_s, self._thread.behind)
        waiting = await self._with_topic_ids(fetched)
        while waiting:
            if self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
                self._give_back(waiting)
                return
            topic_id, tp, records = waiting.pop(0)
            start = self._starts.get(tp, records[0].offset)
            self._starts[tp] = records[-1].offset + 1
            yield tp, self._message(Batch(tp, start, records, topic_id), generation)

    async def _all_want_more(self) -> None:
        """No lane has enough: a fetch for the others alone might find nothing, and would hold up those that want more
        meanwhile. A lane that takes longer than a fetch waits at most, or stands still, is waited for once."""
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                while self._paused_partitions - self._slow:
                    self._resumed.clear()
                    await self._resumed.wait()
        except TimeoutError:
            self._slow = set(self._paused_partitions)

    def _give_back(self, fetched: Iterable[tuple[str, TP, list[Any]]]) -> None:
        """What was fetched and is not handed on must be fetched again: the client counts it as read."""
        for _, tp, records in fetched:
            self._seeks.setdefault(tp, self._starts.get(tp, records[0].offset))

    async def _with_topic_ids(self, fetched: Mapping[TP, list[Any]]) -> list[tuple[str, TP, list[Any]]]:
        """A batch of a topic that was deleted and made again must not pass for the old one's: its id is read again when
        the last reading is old, and at once when offsets went back (the new topic is shorter than our position)."""
        now = asyncio.get_running_loop().time()
        found = []
        for partition, records in fetched.items():
            if records:
                tp = TP(*partition)
                went_back = records[0].offset < self._starts.get(tp, 0)
                known = self._topic_ids.get(tp.topic)
                if known is None or went_back or now - known[1] > TOPIC_ID_AGE_S:
                    known = self._topic_ids[tp.topic] = (await self._read_topic_id(tp.topic), now)
                found.append((known[0], tp, records))
        return found

    async def _read_topic_id(self, topic: str) -> str:
        """However long it takes: the records are fetched, nobody would fetch them again."""
        while not self.should_stop:
            try:
                return await self.app.topic_id(topic)
            except Unavailable:
                await asyncio.sleep(RETRY_S)
        return ""

    def _message(self, batch: Batch, generation: int) -> ConsumerMessage:
        tp, last = batch.tp, batch.records[-1]
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=last.offset,
            timestamp=(last.timestamp or 0) / 1000.0,
            timestamp_type=0,  # nobody asks
            headers=[],
            key=None,
            value=batch,  # type: ignore[arg-type]  # Faust hands on whatever this is
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=tp,
            generation_id=generation,
        )

    def _new_offset(self, tp: TP) -> int | None:
        """Commit what lanes stored. What Faust derives from acknowledgements can pass a batch that is in work."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self._stored.get(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        # Also a lower one: after a restore PostgreSQL is behind what was committed, and PostgreSQL is right.
        return offset != self._told.get(tp, 0)

    async def _commit_offsets(self, offsets: Positions, start_new_transaction: bool = True) -> bool:
        """Without Faust's table of them, which it draws each second whether or not its log is read. Where one fails it
        is tried again with the next: a commit only informs, and must not end the worker."""
        assigned = self.assignment()
        mine = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        committed = bool(mine) and await self._commit(mine)
        if committed:
            self._told.update(mine)
        return committed

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets inside a batch are no gaps."""


class BatchTransport(driver.Transport):
    Consumer = BatchConsumer


class _NoWeb(BootStrategy):
    enable_web = False


class BatchApp(faust.App):
    """A Faust app whose consumer yields batches. The two functions are set by whoever builds the app."""

    BootStrategy = _NoWeb
    #: See Stage.
    fetch_every_s = 0.0
    joins_lanes = False
    stored_positions: Callable[[set[TP]], Awaitable[Positions]]
    topic_id: Callable[[str], Awaitable[str]]

    def _create_directories(self) -> None:
        """None: Faust keeps tables in them, and we have no tables."""

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self, loop=self.loop)

    def _new_producer_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_producer, self, loop=self.loop)
