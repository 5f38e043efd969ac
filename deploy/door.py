"""The door's composition root: what it is made of, and how it is served."""

import asyncio
import contextlib
import logging
import resource
import ssl
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from deploy.fail_points import fail_point
from deploy.feed import DefinitionsFeed
from deploy.kafka import client_config
from deploy.keys import profile_ids
from deploy.sealing import Seals
from deploy.settings import Settings, SettingsError
from deploy.until_signal import run_until_signal
from ingest.access import Access
from ingest.deadlines import Deadlines
from ingest.door import Door
from ingest.intake import Intake
from ingest.numbers import Numbers
from ingest.refused import Refused
from ingest.request import BODY_DEADLINE_S
from ingest.sink import Sink
from schemas.definitions.secret import Secret
from schemas.limits import MAX_CONNECTIONS, MAX_HEAD_BYTES
from schemas.topics import CONFIG, TRACKS
from workflows.actions.builtin import load_actions

log = logging.getLogger("headwater")

#: What a door that is killed has counted since, its numbers for Prometheus forget.
KEPT_EVERY_S = 1.0


def run_door(settings: Settings) -> None:
    """Serve HTTP until TERM or Ctrl-C."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # a connection is a file
        with contextlib.suppress(ValueError, OSError):  # macOS says more than it gives
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run_until_signal(lambda stop: _serve(settings, stop))


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


def _numbers(settings: Settings) -> Numbers:
    try:
        return Numbers(Path(settings.shared_door) if settings.shared_door else None)
    except OSError as error:
        raise SettingsError(f"HEADWATER_SHARED_DOOR: no file can be had there: {error.strerror}") from error


async def _listen(server: Server, settings: Settings, ends: list[asyncio.Future[Any]]) -> None:
    """Serve until one of `ends` comes. Raises SettingsError where nobody can listen at that address."""
    serving = asyncio.create_task(server.serve())
    await asyncio.sleep(0)  # in its first turn it listens, or fails
    if not serving.done():
        log.info("ingest: serving on %s", settings.door_url)
    await asyncio.wait([serving, *ends], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        why = str(serving.exception() or "its listener ended").partition("\n")[0]  # the rest is a trace
        raise SettingsError(
            f"the door cannot listen on {settings.http_host}:{settings.http_port}: {why}; "
            f"choose another with HEADWATER_HTTP_HOST, HEADWATER_HTTP_PORT"
        )
    server.stop()  # type: ignore[no-untyped-call]
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(serving, 8)


async def _keep(numbers: Numbers) -> None:
    """Beside the loop: a busy disk must not keep anybody waiting."""
    said = False
    while True:
        try:
            await asyncio.to_thread(numbers.keep)
            said = False
        except OSError as error:  # a door needs no disk for what it is there for; /metrics says that it has none
            if not said:
                log.warning("ingest: the file of its numbers cannot be written: %s", error.strerror)
            said = True
        await asyncio.sleep(KEPT_EVERY_S)


def _server(door: Door, settings: Settings) -> Server:
    return Server(
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


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    _check_tls(settings)
    numbers, kafka = _numbers(settings), client_config(settings)
    sink = Sink(kafka, settings.topic_prefix + TRACKS.name, fail_point(settings.failpoint))
    feed = DefinitionsFeed(kafka, settings.topic_prefix + CONFIG.name, load_actions())
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
    stopped = asyncio.create_task(stop.wait())
    ends: list[asyncio.Future[Any]] = [stopped, feed.failed, sink.failed]
    keeping = asyncio.create_task(_keep(numbers))
    try:
        if settings.shared_door:  # what this door cannot take yet, the others can
            log.info("ingest: reads the definitions before it listens")
            await asyncio.wait([feed.ready, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not any(end.done() for end in ends):
            await _listen(_server(door, settings), settings, ends)
    finally:
        feed.stop()
        await sink.close()
        keeping.cancel()
        stopped.cancel()
        with contextlib.suppress(OSError):  # as above; the process ends
            numbers.keep()
    for failed in (feed.failed, sink.failed):
        if failed.done():
            failed.result()
