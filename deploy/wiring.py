"""The composition root: builds what a process needs and runs it. Only here clients are opened and settings spread."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from psycopg import AsyncConnection

from deploy.calling import caller
from deploy.due import due_of
from deploy.fail_points import fail_point
from deploy.failing_connections import failing_connections
from deploy.feed import DefinitionsFeed
from deploy.kafka import KafkaAdmin, client_config
from deploy.kafka_access import worker_access
from deploy.keys import identity_key
from deploy.memory import collect_often
from deploy.sealing import Seals
from deploy.settings import Settings, SettingsError
from deploy.stages import DISPATCH, find_stage
from deploy.toolbox import toolbox
from deploy.until_signal import run_until_signal
from processors.connectors.guard import Guard, guarded_session
from processors.connectors.outside import Outside
from processors.runner.dead_letters import ReplayOf
from processors.runner.fail_points import Reach
from processors.runner.installation import Installation
from processors.runner.publisher import FencedPublisher, Publisher, Publishes
from processors.runner.stage import Stage
from processors.runner.ticker import Ticker
from processors.runner.worker import StageWorker
from processors.storage.database import connector
from processors.storage.progress import LaneKey
from schemas.topics import CONFIG, TRACKS
from workflows.actions.builtin import load_actions
from workflows.replays import Replays

log = logging.getLogger("headwater")


def run_worker(name: str, settings: Settings) -> None:
    """Run one stage until TERM or Ctrl-C. Raises LookupError for a stage that does not exist.

    The process ends when its work does, whatever threads and tasks of its libraries still wait for (an answer of
    Kafka's that never comes): nothing that counts is left undone outside PostgreSQL and Kafka, and a worker that failed
    must not linger half alive.
    """

    async def work(stop: asyncio.Event) -> None:
        try:
            await _work(name, settings, stop)
        except Exception as error:
            if type(error) in (LookupError, SettingsError):  # said in one line
                raise
            log.exception("%s: this process cannot go on", name)
            _end(1)
        _end(0)

    run_until_signal(work)


def _end(code: int) -> None:
    logging.shutdown()
    os._exit(code)


async def _work(name: str, settings: Settings, stop: asyncio.Event) -> None:
    kafka, reach = client_config(settings), fail_point(settings.failpoint)
    async with _definitions(settings, stop) as feed:
        if stop.is_set():
            return
        stage = find_stage(name, feed.get())
        if name == "run-workflows" or name.startswith(DISPATCH):
            Seals(settings).check([*feed.get().resources.values(), *feed.get().destinations.values()])
        if stage.outside:
            collect_often()
        if stage.gather is not None:
            stage = replace(stage, gather=replace(stage.gather, seconds=settings.archive_seconds))
        admin = KafkaAdmin(kafka, settings.topic_prefix)
        installation = Installation(
            settings.kafka,
            settings.topic_prefix,
            connector(
                settings.database_url,
                f"headwater {name}",
                3 * settings.session_timeout_s,
                failing_connections(reach) if settings.failpoint else AsyncConnection,
            ),
            admin,
            _publishers(stage, kafka, settings.topic_prefix, reach, settings.lanes),
            settings.lanes,
            settings.session_timeout_s,
            reach,
            settings.first_partition,
            _replay_of(settings) if TRACKS in stage.reads else lambda payload: None,
            worker_access(settings),
        )
        guard = Guard(filter(None, settings.private_networks.split(",")))
        async with guarded_session(guard) as client:
            worker = StageWorker(stage, installation, toolbox(stage, feed, settings, client, guard))
            beside: list[asyncio.Future[None]] = [feed.failed]
            for take_due, every_s in due_of(name, feed):
                connect = connector(settings.database_url, f"headwater {name} ticker")
                ticker = Ticker(connect, Publisher(kafka, settings.topic_prefix), take_due, every_s)
                beside.append(asyncio.ensure_future(ticker.run()))
            if name == "run-workflows":
                outside = Outside(client, guard, Seals(settings).open)
                beside.append(asyncio.ensure_future(caller(settings, feed, kafka, outside).run()))
            log.info("%s: working", name)
            await _with(beside, worker.run(stop), stop)


def _replay_of(settings: Settings) -> ReplayOf:
    replays = Replays(identity_key(settings))
    return lambda payload: replays.read(payload.replay, payload.body)


def _publishers(
    stage: Stage, kafka: Mapping[str, Any], prefix: str, reach: Reach, lanes: int
) -> Callable[[LaneKey], Publishes]:
    if stage.is_fenced:
        threads = ThreadPoolExecutor(64, "publish")
        return lambda key: FencedPublisher(kafka, prefix, f"{key.stage}-{key.topic}-{key.partition}", reach, threads)
    shared = Publisher(kafka, prefix, reach, lanes)
    return lambda key: shared


@contextlib.asynccontextmanager
async def _definitions(settings: Settings, stop: asyncio.Event) -> Any:
    """The definitions' feed, ready, unless `stop` is set before it is."""
    feed = DefinitionsFeed(client_config(settings), settings.topic_prefix + CONFIG.name, load_actions())
    try:
        stopped = asyncio.create_task(stop.wait())
        waited: list[asyncio.Future[Any]] = [feed.ready, feed.failed, stopped]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if feed.failed.done():
            feed.failed.result()
        yield feed
    finally:
        feed.stop()


async def _with(beside: "Sequence[asyncio.Future[None]]", work: Awaitable[None], stop: asyncio.Event) -> None:
    """Work until `stop` is set, or what goes on beside ends: then in order, too, and with what that raised."""
    for one in beside:
        one.add_done_callback(lambda _: stop.set())
    await work
    for one in beside:
        if one.cancelled():  # which would end this process in silence
            raise RuntimeError("what goes on beside was cancelled from inside")
        if one.done():
            one.result()
        one.cancel()
