"""The composition root: builds what a process needs and runs it. Only here clients are opened and settings spread."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from psycopg import AsyncConnection

from deploy.calling import caller
from deploy.due import due_of
from deploy.fail_points import fail_point, failing_connections
from deploy.feed import DefinitionsFeed
from deploy.kafka import KafkaAdmin, client_config
from deploy.keys import identity_key, profile_ids
from deploy.memory import collect_often, settle
from deploy.sealing import Seals
from deploy.settings import Settings, SettingsError
from deploy.stages import DISPATCH, find_stage
from deploy.toolbox import toolbox
from ingest.access import Access
from ingest.deadlines import Deadlines
from ingest.door import Door
from ingest.intake import Intake
from ingest.numbers import Numbers
from ingest.refused import Refused
from ingest.request import BODY_DEADLINE_S
from ingest.sink import Sink
from processors.connectors.guard import Guard, guarded_session
from processors.connectors.outside import Outside
from processors.runner.attempt import ReplayOf
from processors.runner.fail_points import Reach
from processors.runner.publisher import FencedPublisher, Publisher, Publishes
from processors.runner.stage import Stage
from processors.runner.ticker import Ticker
from processors.runner.worker import Installation, StageWorker
from processors.storage.database import connector
from processors.storage.progress import LaneKey
from schemas.definitions.secret import Secret
from schemas.limits import MAX_CONNECTIONS, MAX_HEAD_BYTES
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


def run_door(settings: Settings) -> None:
    """Serve HTTP until TERM or Ctrl-C."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # a connection is a file
        with contextlib.suppress(ValueError, OSError):  # macOS says more than it gives
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run_until_signal(lambda stop: _serve(settings, stop))


def run_until_signal(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main` on uvloop with an event that TERM and INT set."""

    async def run() -> None:
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        settle()
        await main(stop)

    uvloop.run(run())


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
            admin.topic_id,
            _publishers(stage, kafka, settings.topic_prefix, reach, settings.lanes),
            settings.lanes,
            settings.session_timeout_s,
            reach,
            settings.first_partition,
            _replay_of(settings) if TRACKS in stage.reads else lambda payload: None,
        )
        guard = Guard(filter(None, settings.private_networks.split(",")))
        async with guarded_session(guard) as client:
            worker = StageWorker(stage, installation, toolbox(stage, feed, settings, client, guard))
            beside = [asyncio.create_task(_stop_on(feed.failed, stop))]
            for take_due, every_s in due_of(name, feed):
                connect = connector(settings.database_url, f"headwater {name} ticker")
                ticker = Ticker(connect, Publisher(kafka, settings.topic_prefix), take_due, every_s)
                ticking = asyncio.ensure_future(ticker.run())
                beside += [ticking, asyncio.create_task(_stop_on(ticking, stop))]
            if name == "run-workflows":
                outside = Outside(client, guard, Seals(settings).open)
                calling = asyncio.ensure_future(caller(settings, feed, kafka, outside).run())
                beside += [calling, asyncio.create_task(_stop_on(calling, stop))]
            log.info("%s: working", name)
            await worker.run(stop)
            for task in beside:
                task.cancel()


def _replay_of(settings: Settings) -> ReplayOf:
    replays = Replays(identity_key(settings))
    return lambda payload: replays.read(payload.replay, payload.body)


def _publishers(
    stage: Stage, kafka: Mapping[str, Any], prefix: str, reach: Reach, lanes: int
) -> Callable[[LaneKey], Publishes]:
    if any(topic.fenced for topic in stage.writes):
        return lambda key: FencedPublisher(kafka, prefix, f"{key.stage}-{key.topic}-{key.partition}", reach)
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


async def _stop_on(failed: "asyncio.Future[None]", stop: asyncio.Event) -> None:
    with contextlib.suppress(Exception):  # whoever failed has logged it
        await failed
    stop.set()


def _reveal(seals: Seals) -> Callable[[Secret], str]:
    """Opens secrets at the door, once each."""

    @lru_cache(1000)
    def reveal(secret: Secret) -> str:
        try:
            return seals.open(secret)
        except SettingsError as error:
            log.error("ingest: %s", error)
            raise Refused(503, "misconfigured", "a secret of this source cannot be opened here", 10) from error

    return reveal


def _check_tls(settings: Settings) -> None:
    """Raises SettingsError where there is no certificate and key in what the settings name."""
    if not settings.tls_certificate:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"HEADWATER_TLS_CERTIFICATE, HEADWATER_TLS_KEY: no certificate and its key: {error}"
        ) from error


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    _check_tls(settings)
    kafka = client_config(settings)
    sink = Sink(kafka, settings.topic_prefix + TRACKS.name, fail_point(settings.failpoint))
    feed = DefinitionsFeed(kafka, settings.topic_prefix + CONFIG.name, load_actions())
    numbers = Numbers()
    access = Access(_reveal(Seals(settings)))
    intake = Intake(sink, access, profile_ids(settings), settings.max_in_flight, settings.first_partition, numbers)
    door = Door(
        intake,
        lambda: feed.current,
        sink.reachable,
        Deadlines(BODY_DEADLINE_S),
        numbers,
        settings.proxies,
    )
    server = Server(
        door,
        address=settings.http_host,
        port=settings.http_port,
        interface=Interfaces.RSGI,
        # Nothing but HTTP/1: for what does not say what it speaks there is no deadline.
        http=HTTPModes.http1,
        websockets=False,
        backlog=2048,
        # Connections at the same time; what waits for Kafka has a limit of its own.
        backpressure=MAX_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=10_000, keep_alive=True, max_buffer_size=MAX_HEAD_BYTES),
        log_enabled=False,
        ssl_cert=Path(settings.tls_certificate) if settings.tls_certificate else None,
        ssl_key=Path(settings.tls_key) if settings.tls_key else None,
    )
    serving = asyncio.create_task(server.serve())
    stopped = asyncio.create_task(stop.wait())
    log.info("ingest: serving on %s", settings.door_url)
    waited: list[asyncio.Future[Any]] = [serving, stopped, feed.failed]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(serving, 8)
    feed.stop()
    await sink.close()
    stopped.cancel()
