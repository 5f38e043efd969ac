"""`headwater up`: services, then a process for the door and for each stage; whoever dies is started again."""

import asyncio
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp
from confluent_kafka import KafkaException

from deploy.definitions import read_folder
from deploy.embedded.process import EmbeddedError, EmbeddedServer, usable_port
from deploy.feed import DefinitionsFeed
from deploy.installation import create_topics, migrate_database, publish_definitions
from deploy.kafka import client_config, kafka_admin
from deploy.operations.applying import apply_folder
from deploy.operations.metrics import serve_metrics
from deploy.pipeline import Pipeline, say
from deploy.settings import Settings, stored_keys, write_running
from deploy.stages import stages_beside
from deploy.turns import take_long_turns
from deploy.until_signal import run_until_signal
from schemas.topics import CONFIG
from workflows.actions.builtin import load_actions

#: Together with the time that the pipeline's processes have: everything is down within ten seconds.
SERVER_STOP_WITHIN_S = 2.0
RESTART_AFTER_S = 5.0


class Services:
    """Embedded Kafka and PostgreSQL, as far as the settings do not point elsewhere."""

    def __init__(self, settings: Settings, short_lived: bool = False) -> None:
        self._settings, self._short_lived = settings, short_lived
        self.servers: list[EmbeddedServer] = []
        self._next_start = 0.0

    def start(self) -> Settings:
        """Start what is needed; the settings with the addresses filled in. Raises EmbeddedError."""
        take_long_turns()
        addresses: dict[str, str] = {}
        if not self._settings.kafka:
            from deploy.embedded.kafka import EmbeddedKafka

            kafka = EmbeddedKafka(
                self._settings.data / "kafka", self._settings.kafka_port, say, short_lived=self._short_lived
            )
            self._start(kafka)
            addresses["kafka"] = kafka.address
        if not self._settings.database_url:
            from deploy.embedded.postgres import EmbeddedPostgres

            postgres = EmbeddedPostgres(self._settings.data / "postgres", self._settings.postgres_port, say)
            self._start(postgres)
            addresses["database_url"] = postgres.url
        return self._settings.model_copy(update={**addresses, **stored_keys(self._settings, make=True)})

    def _start(self, server: EmbeddedServer) -> None:
        server.start()
        self.servers.append(server)

    def restart_dead(self) -> None:
        """Start again what died."""
        for server in self.servers:
            if not server.running and time.monotonic() >= self._next_start:
                say(f"{server.name} died; starting it again")
                try:
                    server.start()
                except EmbeddedError as error:
                    self._next_start = time.monotonic() + RESTART_AFTER_S
                    say(f"{error}; trying again in {RESTART_AFTER_S:.0f} s")

    def stop(self) -> None:
        for server in self.servers:
            server.stop(SERVER_STOP_WITHIN_S)


def run_services(settings: Settings) -> None:
    """Embedded services until Ctrl-C or TERM."""
    with ExitStack() as stack:
        running = _start_services(settings, stack)
        say(f"ready: Kafka {running.kafka}, PostgreSQL {_without_password(running.database_url)}; Ctrl-C stops them")
        run_until_signal(_wait_for)


def run_metrics(settings: Settings) -> None:
    """/metrics of a running installation until Ctrl-C or TERM."""
    say(f"serving {metrics_url(settings)}; Ctrl-C stops it")
    run_until_signal(_wait_for)


def metrics_url(settings: Settings) -> str:
    """Serve /metrics from now on; where. Raises EmbeddedError where the port is taken."""
    try:
        return f"http://{settings.http_host}:{serve_metrics(settings)}/metrics"
    except OSError as error:
        raise EmbeddedError(
            f"metrics: port {settings.metrics_port} on {settings.http_host} cannot be had ({error.strerror}); "
            "choose another with HEADWATER_METRICS_PORT"
        ) from error


async def _wait_for(stop: asyncio.Event) -> None:
    await stop.wait()


def run_up(settings: Settings, definitions: Path | None, workers: Mapping[str, int]) -> None:
    """Everything, until Ctrl-C or TERM."""
    with ExitStack() as stack:
        _require_free_port(settings)
        if definitions is not None:
            read_folder(definitions)  # what is wrong with it is said before anything starts
        services = Services(settings)
        stack.callback(services.stop)
        running = prepare(services, settings, definitions, stack)
        say(f"metrics of the whole pipeline: {metrics_url(running)}")
        pipeline = Pipeline(running, workers, os.environ)
        stack.callback(pipeline.stop)
        run_until_signal(lambda stop: with_pipeline(pipeline, services, running, stop, None))
        say("stopping")
    say("stopped; data is kept for the next time")


def prepare(
    services: Services, settings: Settings, definitions: Path | None, stack: ExitStack, quiet: bool = False
) -> Settings:
    """Services up, schema and topics there, definitions applied; the settings with all addresses."""
    running = services.start()
    write_running(running)
    stack.callback(settings.running_file.unlink, missing_ok=True)
    asyncio.run(migrate_database(running))
    create_topics(running)
    asyncio.run(publish_definitions(running))
    if definitions is not None:
        asyncio.run(apply_folder(running, definitions, False, (lambda lines: True) if quiet else _shown))
    return running


async def with_pipeline(
    pipeline: Pipeline,
    services: Services,
    settings: Settings,
    stop: asyncio.Event,
    then: Callable[[asyncio.Event], Awaitable[None]] | None,
) -> None:
    """Supervise until `stop`; once everything is ready, do `then`, whose failure ends it all."""
    ready = asyncio.Event()
    supervising = asyncio.create_task(_supervise(pipeline, services, settings, stop, ready))
    doing = asyncio.create_task(_after(ready, then, stop))
    await asyncio.wait({supervising, doing}, return_when=asyncio.FIRST_COMPLETED)
    if doing.done() and doing.exception() is not None:
        stop.set()
    await supervising
    doing.cancel()
    with suppress(asyncio.CancelledError):
        await doing


async def _after(
    ready: asyncio.Event, then: Callable[[asyncio.Event], Awaitable[None]] | None, stop: asyncio.Event
) -> None:
    await ready.wait()
    if then is not None:
        await then(stop)


async def _supervise(
    pipeline: Pipeline, services: Services, settings: Settings, stop: asyncio.Event, ready: asyncio.Event
) -> None:
    """Keep everything running until `stop`; set `ready`, and say so, once events can flow all the way."""
    feed = DefinitionsFeed(client_config(settings), settings.topic_prefix + CONFIG.name, load_actions())
    started = time.monotonic()
    telling = asyncio.create_task(_tell_when_ready(pipeline, feed, settings, ready, started))
    while not stop.is_set():
        for task in (telling, feed.failed):
            if task.done() and task.exception() is not None:
                task.result()
        services.restart_dead()
        pipeline.keep_running(stages_beside(feed.current) if feed.current else {})
        try:
            await asyncio.wait_for(stop.wait(), 0.3)
        except TimeoutError:
            continue
    telling.cancel()
    feed.stop()


def _certificate(settings: Settings) -> ssl.SSLContext:
    """What the door must show: its own certificate, whatever name is in it."""
    context = ssl.create_default_context(cafile=settings.tls_certificate or None)
    context.check_hostname = not settings.tls_certificate
    return context


async def _tell_when_ready(
    pipeline: Pipeline, feed: DefinitionsFeed, settings: Settings, ready: asyncio.Event, started: float
) -> None:
    await feed.ready
    admin, url = kafka_admin(settings), settings.door_url
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_certificate(settings)), timeout=aiohttp.ClientTimeout(total=3)
    ) as client:
        while True:
            groups = pipeline.groups(stages_beside(feed.get()))
            try:
                async with client.get(f"{url}/ready") as answer:
                    opened = answer.status == 200
                if opened and await asyncio.to_thread(admin.settled, groups):
                    break
            except (aiohttp.ClientError, KafkaException, TimeoutError):
                pass  # not up yet: asked again below
            await asyncio.sleep(0.2)
    ready.set()
    say(
        f"ready after {time.monotonic() - started:.0f} s: POST {url}/track, Kafka {settings.kafka}, "
        f"PostgreSQL {_without_password(settings.database_url)}, logs in {settings.data / 'logs'}; Ctrl-C stops all"
    )


def _start_services(settings: Settings, stack: ExitStack) -> Settings:
    services = Services(settings)
    stack.callback(services.stop)
    running = services.start()
    write_running(running)
    stack.callback(settings.running_file.unlink, missing_ok=True)
    return running


def _require_free_port(settings: Settings) -> None:
    if settings.http_port and usable_port(settings.http_port) != settings.http_port:
        raise EmbeddedError(
            f"the door: port {settings.http_port} on {settings.http_host} is taken; "
            f"choose another with HEADWATER_HTTP_PORT"
        )


def _shown(lines: list[str]) -> bool:
    """Which definitions: `headwater apply` shows what is different in them."""
    for line in lines:
        if not line.startswith(" "):
            say(line)
    return True


def _without_password(url: str) -> str:
    head, _, tail = url.rpartition("@")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.split(':')[0]}@{tail}" if head else url
