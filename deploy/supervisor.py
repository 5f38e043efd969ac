"""`headwater up`: services, then a process for the door and for each stage; whoever dies is started again."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import click
import httpx
from confluent_kafka import KafkaException

from deploy import demo
from deploy.definitions import read_folder
from deploy.embedded.process import EmbeddedError, EmbeddedServer, dying_with_parent, usable_port
from deploy.feed import DefinitionsFeed
from deploy.installation import apply_folder, create_topics, kafka_admin, migrate_database, publish_definitions
from deploy.kafka import client_config
from deploy.settings import Settings, SettingsError, stored_identity_key, write_running
from deploy.wiring import DISPATCH, dispatchers, run_until_signal
from processors.topology import PIPELINE
from schemas.topics import CONFIG
from workflows.actions.builtin import load_actions

#: The example definitions that the demo runs with.
SHOP = Path(__file__).parent / "examples" / "shop"
STOP_WITHIN_S = 6.0
MAX_BACKOFF_S = 15.0
#: A process that ran this long has started well: its next start comes without delay again.
RAN_WELL_S = 60.0


def say(line: str) -> None:
    """One line for whoever watches; results go to stdout, progress here."""
    click.echo(line, err=True)


def parse_workers(given: Sequence[str]) -> dict[str, int]:
    """`STAGE=N` options as numbers. Raises SettingsError."""
    counts: dict[str, int] = {}
    names = {stage.name for stage in PIPELINE}
    for text in given:
        name, _, number = text.partition("=")
        if name not in names and not name.startswith(DISPATCH):
            raise SettingsError(f"--workers {text}: there is no stage {name!r} (there are: {', '.join(sorted(names))})")
        if not number.isdigit() or not 1 <= int(number) <= 64:
            raise SettingsError(f"--workers {text}: the number of processes is 1 to 64")
        counts[name] = int(number)
    return counts


class Services:
    """Embedded Kafka and PostgreSQL, as far as the settings do not point elsewhere."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.servers: list[EmbeddedServer] = []

    def start(self) -> Settings:
        """Start what is needed; the settings with the addresses filled in. Raises EmbeddedError."""
        addresses: dict[str, str] = {}
        if not self._settings.kafka:
            from deploy.embedded.kafka import EmbeddedKafka

            kafka = EmbeddedKafka(self._settings.data / "kafka", self._settings.kafka_port, say)
            self._start(kafka)
            addresses["kafka"] = kafka.address
        if not self._settings.database_url:
            from deploy.embedded.postgres import EmbeddedPostgres

            postgres = EmbeddedPostgres(self._settings.data / "postgres", self._settings.postgres_port, say)
            self._start(postgres)
            addresses["database_url"] = postgres.url
        key = self._settings.identity_key or stored_identity_key(self._settings.data, make=True)
        return self._settings.model_copy(update={**addresses, "identity_key": key})

    def _start(self, server: EmbeddedServer) -> None:
        server.start()
        self.servers.append(server)

    def restart_dead(self) -> None:
        """Start again what died."""
        for server in self.servers:
            if not server.running:
                say(f"{type(server).__name__} died; starting it again")
                server.start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop(STOP_WITHIN_S)


class Child:
    """One process of ours, started again when it dies."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self._command, self._environment, self._log = name, command, environment, log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._next_start = 0.0
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def keep_running(self) -> None:
        """Start it if it is not running and its time has come; say so when it died."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._deaths = 0 if now - self._started > RAN_WELL_S else self._deaths + 1
            delay = min(MAX_BACKOFF_S, 0.5 * 2 ** min(self._deaths, 6)) if self._deaths > 1 else 0.2
            code, self._process, self._next_start = self._process.returncode, None, now + delay
            say(f"{self.name} ended with {code}; it starts again in {delay:.1f} s (its log: {self._log})")
        if self._process is None and now >= self._next_start:
            self._started = now
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    env=dict(self._environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=dying_with_parent(),
                )

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_or_kill(self, until: float) -> None:
        """Wait for its end until then, at most."""
        if self._process is not None:
            try:
                self._process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class Pipeline:
    """The door and all stages as children of this process."""

    def __init__(self, settings: Settings, workers: Mapping[str, int], environment: Mapping[str, str]) -> None:
        self._settings, self._workers = settings, workers
        self._environment = {**environment, **settings.environment()}
        self._logs = settings.data / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self.children: dict[str, Child] = {}
        self._add("ingest", ["ingest"])
        for stage in PIPELINE:
            self._add_stage(stage.name)

    def _add_stage(self, name: str) -> None:
        for number in range(1, self._workers.get(name, 1) + 1):
            self._add(name if number == 1 else f"{name}-{number}", ["worker", name])

    def _add(self, name: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        self.children[name] = Child(name, command, self._environment, self._logs / f"{name}.log")

    def keep_running(self, wanted_dispatchers: Sequence[str]) -> None:
        """Restart who died; start and stop dispatchers as destinations come and go."""
        for name in wanted_dispatchers:
            if name not in self.children:
                self._add_stage(name)
        for name in [name for name in self.children if name.startswith(DISPATCH)]:
            if not any(name == wanted or name.startswith(f"{wanted}-") for wanted in wanted_dispatchers):
                child = self.children.pop(name)
                child.terminate()
                child.wait_or_kill(time.monotonic() + STOP_WITHIN_S)
        for child in self.children.values():
            child.keep_running()

    def stop(self) -> None:
        for child in self.children.values():
            child.terminate()
        until = time.monotonic() + STOP_WITHIN_S
        for child in self.children.values():
            child.wait_or_kill(until)

    def groups(self, wanted_dispatchers: Sequence[str]) -> dict[str, list[str]]:
        """Every stage's consumer group, and the topics it reads."""
        found = {stage.name: [topic.name for topic in stage.reads] for stage in PIPELINE}
        return found | {name: [f"destination-{name[len(DISPATCH) :]}"] for name in wanted_dispatchers}


def run_services(settings: Settings) -> None:
    """Embedded services until Ctrl-C or TERM."""
    with ExitStack() as stack:
        running = _start_services(settings, stack)
        say(f"ready: Kafka {running.kafka}, PostgreSQL {_without_password(running.database_url)}; Ctrl-C stops them")
        run_until_signal(_wait_for)


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
        pipeline = Pipeline(running, workers, os.environ)
        stack.callback(pipeline.stop)
        run_until_signal(lambda stop: _with_pipeline(pipeline, services, running, stop, None))
        say("stopping")
    say("stopped; data is kept for the next time")


def run_demo(settings: Settings, data: Path, rows: int | None, exit_after: bool, as_json: bool) -> bool:
    """The demo, in a folder and on ports of its own; whether what came out is what went in."""
    purchases = demo.read_purchases(data)[:rows]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-demo-")))
        folder.chmod(0o755)
        own = Settings(data=folder, http_port=usable_port(0), partitions=settings.partitions, lanes=settings.lanes)
        services = Services(own)
        stack.callback(services.stop)
        running = prepare(services, own, SHOP, stack, quiet=True)
        pipeline = Pipeline(running, {}, os.environ)
        stack.callback(pipeline.stop)
        outcome = DemoRun(running, purchases, exit_after, as_json)
        run_until_signal(lambda stop: _with_pipeline(pipeline, services, running, stop, outcome.run))
    return outcome.right


class DemoRun:
    """Sends the purchases once everything is ready, waits until they are through, and shows what became of them."""

    def __init__(self, settings: Settings, purchases: Sequence[demo.Purchase], exit_after: bool, as_json: bool) -> None:
        self._settings, self._purchases = settings, purchases
        self._exit_after, self._as_json = exit_after, as_json
        self._sent = 0
        self.right = False

    async def run(self, stop: asyncio.Event) -> None:
        wanted = demo.expected(self._purchases)
        url = f"http://{self._settings.http_host}:{self._settings.http_port}"
        say(f"sending {len(self._purchases):,} purchases, each as a page-view and an order")
        started = time.monotonic()
        sending = asyncio.create_task(demo.send(url, self._purchases, self._count))
        await demo.wait_until_done(self._settings, wanted, self._show)
        await sending
        seconds = time.monotonic() - started
        say("")
        self.right = demo.report(wanted, await demo.found(self._settings), seconds, self._as_json)
        if self._exit_after or not self.right:
            stop.set()
        else:
            say(demo.try_next(self._settings))

    def _count(self) -> None:
        self._sent += 1

    def _show(self, recorded: int, lag: int) -> None:
        line = f"\r  sent {self._sent:,} payloads, recorded {recorded:,} events, {lag:,} records under way   "
        click.echo(line, err=True, nl=False)


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
        asyncio.run(apply_folder(running, definitions, False, bool if quiet else _shown))
    return running


async def _with_pipeline(
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
        services.restart_dead()
        pipeline.keep_running(dispatchers(feed.current) if feed.current else [])
        try:
            await asyncio.wait_for(stop.wait(), 0.3)
        except TimeoutError:
            continue
    telling.cancel()
    feed.stop()


async def _tell_when_ready(
    pipeline: Pipeline, feed: DefinitionsFeed, settings: Settings, ready: asyncio.Event, started: float
) -> None:
    await feed.ready
    admin, url = kafka_admin(settings), f"http://{settings.http_host}:{settings.http_port}"
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            groups = pipeline.groups(dispatchers(feed.get()))
            try:
                answer = await client.get(f"{url}/ready", timeout=3)
                if answer.status_code == 200 and await asyncio.to_thread(admin.settled, groups):
                    break
            except (httpx.HTTPError, KafkaException):
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
    for line in lines:
        say(line)
    return bool(lines)


def _without_password(url: str) -> str:
    head, _, tail = url.rpartition("@")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.split(':')[0]}@{tail}" if head else url
