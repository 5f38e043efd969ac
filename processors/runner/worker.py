"""A worker: the Faust app of one stage, and a lane for each partition that Kafka assigns to it."""

import asyncio
import logging
import random
from typing import Any, cast

from faust.agents import Agent
from faust.types import TP

from processors.runner.attempt import Attempt, Toolbox
from processors.runner.failures import Fenced, LaneStopped
from processors.runner.health import Health
from processors.runner.installation import Installation
from processors.runner.lane import Lane
from processors.runner.partition_log import PartitionLog
from processors.runner.running_lane import RunningLane
from processors.runner.stage import Stage
from processors.runner.stage_app import StageApp, make_app
from processors.runner.together import Together
from processors.runner.transport import BatchConsumer
from processors.storage.progress import LaneKey, stored_positions
from schemas.topics import TRACKS, Topic, full_name

log = logging.getLogger("headwater.worker")

#: How long Faust may take to leave its group in good order, in seconds.
STOP_S = 5.0
#: How often a lane that stopped looks whether an operator has removed the reason.
LOOK_AGAIN_S = 2.0


class StageWorker:
    """Runs one stage until it is told to stop, or until something happens that only a new process can mend."""

    def __init__(self, stage: Stage, installation: Installation, toolbox: Toolbox) -> None:
        self._stage, self._installation, self._toolbox = stage, installation, toolbox
        self._topics = {full_name(installation.prefix, topic.name): topic for topic in stage.reads}
        self._lanes: dict[TP, RunningLane] = {}
        self._together: dict[str, Together] = {}
        self._reviving: set[asyncio.Task[None]] = set()
        self._health = Health()
        self._why_stopped: dict[TP, str] = {}
        self._slots = asyncio.Semaphore(installation.lanes)
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._app = self._build_app()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises what ended a lane for no known reason: the process must end then."""
        stopped, starting = asyncio.create_task(stop.wait()), asyncio.create_task(self._app.start())
        await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await self._work(stopped)
        starting.cancel()
        # No longer than this, and not until it has been cancelled either: it may wait for an answer that never comes.
        await asyncio.wait({asyncio.create_task(self._app.stop())}, timeout=STOP_S)

    async def _work(self, stopped: "asyncio.Task[Any]") -> None:
        crashed = asyncio.create_task(self._app._crashed.wait())
        telling = asyncio.create_task(self._health.tell(self._installation.connect, self._owned))
        ends: list[asyncio.Future[Any]] = [stopped, crashed, self._failed, telling]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await self._end_lanes(set(self._lanes))
        if telling.done():
            telling.result()
        telling.cancel()
        if self._failed.done():
            self._failed.result()
        if crashed.done() and not stopped.done():
            raise RuntimeError("the Kafka consumer crashed") from self._app._crash_reason
        crashed.cancel()

    def _build_app(self) -> StageApp:
        app = make_app(self._stage, self._installation)
        app.stored_positions, app.topic_id = self._stored_positions, self._installation.admin.topic_id
        app.lanes_lost, app.lanes_found = self._end_lanes, self._start_lanes
        for name in self._topics:
            topic = app.topic(name, key_type=None, value_type=None)
            # As `app.agent` does, without its look at the source of every module for decorators.
            agent = Agent(
                self._consume, name=f"{self._stage.name}-{name}", app=app, channel=topic, on_error=app._on_agent_error
            )
            app.agents[agent.name] = agent
        return app

    async def _consume(self, stream: Any) -> None:
        async for event in stream.noack().events():
            if event.message.generation_id == self._app.consumer_generation_id:
                self._lane(event.message.tp).offer(event)

    def _lane(self, tp: TP) -> "RunningLane":
        if tp not in self._lanes:
            key, consumer, reach = self._key(tp), self._consumer(), self._installation.reach
            attempt = self._attempt(self._topics[tp.topic])
            lane = Lane(
                key,
                self._stage,
                PartitionLog(consumer, tp, self._installation.admin, self._app.conf.id),
                self._installation.connect,
                self._installation.publisher(key),
                attempt,
                self._slots,
                self._topics[tp.topic].fenced,
                reach,
                self._health.of(key),
            )
            if self._stage.joins_lanes and tp.topic not in self._together:
                self._together[tp.topic] = Together(attempt, self._stage.is_fenced, self._slots, reach, consumer.pace)
            together = self._together.get(tp.topic)
            self._lanes[tp] = RunningLane(lane, tp, consumer, self._stage, self._lane_ended, reach, together)
        return self._lanes[tp]

    def _attempt(self, topic: Topic) -> Attempt:
        return Attempt(
            self._stage,
            topic,
            self._toolbox,
            self._installation.reach,
            self._installation.first_partition if topic is TRACKS else 0,
            self._installation.replay_of,
        )

    def _lane_ended(self, tp: TP, error: BaseException) -> None:
        """A lane that must not go on stays silent until the next assignment; the others go on."""
        if isinstance(error, LaneStopped | Fenced):
            self._note(tp, error)
            self._consumer().pause_partitions({tp})
            if isinstance(error, Fenced) or error.mendable:
                reviving = asyncio.create_task(self._revive(tp, error, self._app.consumer_generation_id))
                self._reviving.add(reviving)
                reviving.add_done_callback(self._revived)
        elif not self._failed.done():
            # As what it is a cancellation would end this process in silence.
            is_cancelled = isinstance(error, asyncio.CancelledError)
            self._failed.set_exception(RuntimeError("a lane was cancelled from inside") if is_cancelled else error)

    def _revived(self, task: "asyncio.Task[None]") -> None:
        self._reviving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)

    def _note(self, tp: TP, error: LaneStopped | Fenced) -> None:
        health = self._health.of(self._key(tp))
        if isinstance(error, Fenced):
            health.fenced += 1
        else:
            health.stopped = str(error)
        if self._why_stopped.get(tp) != str(error):  # it looks again now and then: said once
            self._why_stopped[tp] = str(error)
            log.error("lane %s[%d] stopped: %s", tp.topic, tp.partition, error)

    def _owned(self) -> set[LaneKey]:
        return {self._key(tp) for tp in self._lanes}

    def _key(self, tp: TP) -> LaneKey:
        return LaneKey(self._stage.name, self._topics[tp.topic].name, tp.partition)

    async def _revive(self, tp: TP, error: Exception, generation: int) -> None:
        """Whoever fenced the lane may have been a worker on its last breath, and what stopped it may have been mended:
        if the partition is still ours after a while, a new lane takes it, and begins at PostgreSQL's position."""
        await asyncio.sleep(random.uniform(1, 5) if isinstance(error, Fenced) else LOOK_AGAIN_S)
        position: dict[TP, int] = {}
        while generation == self._app.consumer_generation_id and tp in self._lanes:
            if tp in (position := await self._stored_positions({tp})):
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        if generation != self._app.consumer_generation_id or tp not in self._lanes:
            return
        await self._end_lanes({tp})
        if generation == self._app.consumer_generation_id:  # it may take a moment to end
            # What was read for the lane that ended is gone: it must be read again.
            self._consumer().request_seek(tp, position[tp])
            self._start_lanes({tp})
            self._consumer().resume_partitions({tp})

    def _start_lanes(self, found: set[TP]) -> None:
        for tp in found:
            self._lane(tp)

    async def _end_lanes(self, lost: set[TP]) -> None:
        ending = [self._lanes.pop(tp) for tp in lost if tp in self._lanes]
        await asyncio.gather(*(lane.end() for lane in ending))

    async def _stored_positions(self, partitions: set[TP]) -> dict[TP, int]:
        """Where to begin. Nothing where PostgreSQL cannot say: lanes then find out themselves and seek back."""
        try:
            async with asyncio.timeout(10):
                connection = await self._installation.connect()
                async with connection:
                    topics = [topic.name for topic in self._stage.reads]
                    positions = await stored_positions(connection, self._stage.name, topics)
        except Exception as error:
            log.warning("PostgreSQL cannot say where to begin (%s); lanes will", type(error).__name__)
            return {}
        names = {topic.name: name for name, topic in self._topics.items()}
        found = {TP(names[topic], partition): offset for (topic, partition), offset in positions.items()}
        return {tp: offset for tp, offset in found.items() if tp in partitions}

    def _consumer(self) -> BatchConsumer:
        return cast(BatchConsumer, self._app.consumer)
