"""HTTP: which path does what, limits of a request, and errors as JSON. RSGI, served by Granian."""

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from ingest.deadlines import Deadlines
from ingest.numbers import Numbers
from ingest.service import Refused, answer, check
from ingest.sink import Sink, SinkUnavailable
from schemas.limits import MAX_BODY_BYTES, MAX_INFLATED_BYTES
from workflows.clients import noted
from workflows.definitions import Definitions
from workflows.identity import ProfileIds

_JSON = [("content-type", "application/json"), ("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
_encode = msgspec.json.Encoder().encode
#: A whole request must have arrived by then.
BODY_DEADLINE_S = 20.0

Headers = list[tuple[str, str]]


class Door:
    """The application: `POST /track`, `/health`, `/ready`, `/metrics`."""

    def __init__(
        self,
        sink: Sink,
        definitions: Callable[[], Definitions | None],
        profile_ids: ProfileIds,
        max_in_flight: int,
        first_partition: int,
        deadlines: Deadlines,
        proxies: int = 0,
    ) -> None:
        """`definitions` gives those in force, None until they have been read; `first_partition` is what origins count
        the partitions of `tracks` from; `deadlines` bounds how long a body may take to arrive; so many `proxies` of
        one's own stand before it."""
        self._first_partition, self._deadlines, self._proxies = first_partition, deadlines, proxies
        self._sink, self._definitions, self._profile_ids = sink, definitions, profile_ids
        self._in_flight, self._max_in_flight = 0, max_in_flight
        self.registry, self._numbers = CollectorRegistry(), Numbers()
        self.registry.register(self._numbers)

    async def __call__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.response_empty(400, [])
            return
        try:
            status, headers, body = await self._respond(scope, protocol)
        except Refused as refused:
            status, headers, body = refused.status, list(_JSON), _error(refused.code, refused.message)
            self._numbers.requests[refused.code] += 1
            if refused.status in (429, 503):
                headers.append(("retry-after", "1"))
            if refused.status == 405:
                headers.append(("allow", "POST"))
        protocol.response_bytes(status, headers, body)

    async def _respond(self, scope: Any, protocol: Any) -> tuple[int, Headers, bytes]:
        match scope.path:
            case "/track":
                _require_method(scope, "POST")
                return await self._track(scope, protocol)
            case "/health":
                return 200, _JSON, b'{"status":"up"}'
            case "/ready":
                return await self._ready()
            case "/metrics":
                return 200, [("content-type", "text/plain; version=0.0.4")], generate_latest(self.registry)
            case _:
                raise Refused(404, "not_found", "there is nothing here; payloads go to POST /track")

    async def _ready(self) -> tuple[int, Headers, bytes]:
        if self._definitions() is None:
            return 503, _JSON, _error("starting", "the definitions have not been read yet")
        if not await asyncio.to_thread(self._sink.reachable):
            return 503, _JSON, _error("kafka_unavailable", "Kafka does not answer")
        return 200, _JSON, b'{"status":"ready"}'

    async def _track(self, scope: Any, protocol: Any) -> tuple[int, Headers, bytes]:
        definitions = self._definitions()
        if definitions is None:
            raise Refused(503, "starting", "the definitions have not been read yet")
        if self._in_flight >= self._max_in_flight:
            raise Refused(503, "overloaded", "too many requests under way; send again with the same ids")
        started = time.monotonic()
        self._in_flight += 1
        try:
            checked = check(await self._body(scope, protocol), definitions)
            client = self._client(scope) if checked.notes_client else b""
            partition, offset = await self._sink.write(checked.key, checked.body, client)
        except SinkUnavailable as error:
            raise Refused(503, "kafka_unavailable", "not stored for certain; send again with the same ids") from error
        finally:
            self._in_flight -= 1
            self._numbers.took(time.monotonic() - started)
        rejected = sum(map(bool, checked.reasons))
        acceptable = rejected < len(checked.reasons)
        self._numbers.events["rejected"] += rejected
        self._numbers.events["accepted"] += len(checked.reasons) - rejected
        self._numbers.requests["accepted" if acceptable else "no_acceptable_event"] += 1
        said = answer(checked, self._first_partition + partition, offset, self._profile_ids)
        if acceptable:
            return 200, _JSON, _encode(said)
        problem = {"code": "no_acceptable_event", "message": "every event was rejected", "request_id": str(uuid4())}
        return 400, _JSON, _encode({"error": problem, **said})

    def _client(self, scope: Any) -> bytes:
        headers = scope.headers
        forwarded = ",".join(headers.get_all("x-forwarded-for"))
        return noted(scope.client.rsplit(":", 1)[0].strip("[]"), forwarded, self._proxies, headers.get("user-agent"))

    async def _body(self, scope: Any, protocol: Any) -> bytes:
        """The request's body, inflated. Raises Refused at the first byte too many."""
        content_type = (scope.headers.get("content-type") or "").split(";")[0].strip().lower()
        if content_type not in ("application/json", "text/plain"):
            raise Refused(415, "unsupported_media_type", "send application/json")
        length = scope.headers.get("content-length") or "0"
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            raise Refused(413, "body_too_large", f"a body may have {MAX_BODY_BYTES} bytes")
        try:
            data = await self._deadlines.keep(_read(protocol))
        except TimeoutError as error:
            raise Refused(408, "request_timeout", "the body did not arrive in time") from error
        encoding = (scope.headers.get("content-encoding") or "identity").strip().lower()
        if encoding == "identity":
            return data
        if encoding != "gzip":
            raise Refused(415, "unsupported_encoding", "bodies may be compressed with gzip only")
        return _inflate(data)


def _require_method(scope: Any, method: str) -> None:
    if scope.method != method:
        raise Refused(405, "method_not_allowed", f"use {method}")


async def _read(protocol: Any) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in protocol:
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Refused(413, "body_too_large", f"a body may have {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _inflate(data: bytes) -> bytes:
    """One whole gzip member, nothing behind it, no more than the limit."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        body = inflater.decompress(data, MAX_INFLATED_BYTES + 1)
    except zlib.error as error:
        raise Refused(400, "bad_encoding", "the body is not gzip") from error
    if len(body) > MAX_INFLATED_BYTES:
        raise Refused(413, "body_too_large", f"an inflated body may have {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof or inflater.unused_data:
        raise Refused(400, "bad_encoding", "the gzip body is cut off, or something follows it")
    return body


def _error(code: str, message: str) -> bytes:
    return _encode({"error": {"code": code, "message": message, "request_id": str(uuid4())}})
