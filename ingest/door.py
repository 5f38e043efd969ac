"""The application: RSGI, served by Granian. Limits of the whole door, request ids, errors as JSON."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from ingest.cors import headers_for, is_allowed, preflight
from ingest.deadlines import Deadlines
from ingest.intake import Handler, Intake
from ingest.numbers import Numbers
from ingest.openapi import OPENAPI
from ingest.refusals import Refusals
from ingest.refused import Refused
from ingest.replies import JSON, Reply, problem, reply
from ingest.request import Request, Room
from ingest.routes import route_of
from schemas.limits import MAX_BYTES_IN_FLIGHT
from workflows.definitions import Definitions

log = logging.getLogger("headwater.door")
_TRACKER = Path(__file__).with_name("tracker.js").read_bytes()


class Door:
    """Whatever is asked, by whom ever. `intake` takes what may be taken."""

    def __init__(
        self,
        intake: Intake,
        definitions: Callable[[], Definitions | None],
        reachable: Callable[[], bool],
        deadlines: Deadlines,
        numbers: Numbers,
        proxies: int = 0,
    ) -> None:
        """`definitions` gives those in force, None until they have been read; `reachable` says, after a while, whether
        Kafka answers; `deadlines` bounds how long a body may take to arrive; so many `proxies` of one's own stand
        before the door."""
        self._intake, self._definitions, self._reachable = intake, definitions, reachable
        self._room = Room(MAX_BYTES_IN_FLIGHT)
        self._deadlines, self._proxies = deadlines, proxies
        self._numbers, self._refusals, self.registry = numbers, Refusals(), CollectorRegistry()
        self.registry.register(numbers)
        #: Whether Kafka answers, as it is being asked: each question holds a thread, so all who ask share one.
        self._asking: asyncio.Future[bool] | None = None
        self._life, self._count = secrets.token_hex(6), count(1)
        self._own: Mapping[str, Callable[[], Awaitable[Reply]]] = {
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            "/tracker.js": self._tracker,
        }

    async def __call__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.response_empty(400, [])
            return
        id = f"{self._life}-{next(self._count):x}"
        request = Request(id, scope, protocol, self._proxies, self._deadlines, self._room)
        code = ""
        try:
            status, headers, body = await self._answer(request)
        except Refused as refused:
            code = refused.code
            status, headers, body = self._refuse(request, refused)
        except Exception:
            # A defect of ours costs one request its answer, and not all others theirs: nothing of it is acknowledged.
            log.exception("a request could not be answered", extra={"request_id": request.id})
            status, headers, body = self._refuse(request, Refused(500, "bug", "a defect; the log has the request id"))
        headers = [*headers, ("x-request-id", request.id)]
        origin = request.header("origin")
        if origin and code != "origin_denied" and is_allowed(origin, self._definitions()):
            headers += headers_for(origin)
        protocol.response_bytes(status, headers, body)

    def _refuse(self, request: Request, refused: Refused) -> Reply:
        self._numbers.requests[refused.code] += 1
        self._refusals.note(request.id, refused)
        said = problem(refused.code, refused.message, request.id)
        return reply(refused.status, said, [*JSON, *refused.headers])

    def _answer(self, request: Request) -> Awaitable[Reply]:
        """What will answer it. Raises Refused, then or when it is awaited."""
        request.check_head()
        route = route_of(request.path)
        if route is None:
            return self._tell(request)
        definitions = self._definitions()
        if definitions is None:
            raise Refused(503, "starting", "the definitions have not been read yet", 1)
        if request.method == "OPTIONS":
            return self._preflight(request, route.methods, definitions)
        if request.method not in route.methods:
            raise Refused(405, "method_not_allowed", f"use {' or '.join(route.methods)}", allow=route.methods)
        return self._take(request, route.handle, definitions)

    def _tell(self, request: Request) -> Awaitable[Reply]:
        """What the door says of itself."""
        own = self._own.get(request.path)
        if own is None:
            raise Refused(404, "not_found", "there is nothing here; payloads go to POST /track")
        if request.method != "GET":
            raise Refused(405, "method_not_allowed", "use GET", allow=("GET",))
        return own()

    async def _preflight(self, request: Request, methods: tuple[str, ...], definitions: Definitions) -> Reply:
        return preflight(request, methods, definitions)

    async def _take(self, request: Request, handle: Handler, definitions: Definitions) -> Reply:
        started = time.monotonic()
        if self._intake.is_full:
            await self._intake.wait_for_place()
        try:
            answer = await handle(request, self._intake, definitions)
        finally:
            request.end()
            self._numbers.took(time.monotonic() - started)
        self._numbers.requests[request.outcome or ("accepted" if answer[0] < 400 else "no_acceptable_event")] += 1
        return answer

    async def _health(self) -> Reply:
        return reply(200, {"status": "up"})

    async def _ready(self) -> Reply:
        if self._definitions() is None:
            raise Refused(503, "starting", "the definitions have not been read yet", 1)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._reachable))
        if not await asyncio.shield(self._asking):  # who goes away takes nobody's answer along
            raise Refused(503, "kafka_unavailable", "Kafka does not answer", 1)
        return reply(200, {"status": "ready"})

    async def _metrics(self) -> Reply:
        try:
            if self._numbers.shared:  # their files are read and written
                text = await asyncio.to_thread(generate_latest, self.registry)
            else:
                text = generate_latest(self.registry)
        except OSError as error:
            raise Refused(503, "numbers_unavailable", "the files of the doors' numbers cannot be written") from error
        return 200, [("content-type", "text/plain; version=0.0.4")], text

    async def _openapi(self) -> Reply:
        return reply(200, OPENAPI)

    async def _tracker(self) -> Reply:
        cached = ("cache-control", "public, max-age=3600")
        return 200, [("content-type", "text/javascript; charset=utf-8"), cached], _TRACKER
