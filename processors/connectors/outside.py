"""What workflow runs ask of the outside: HTTP services, PostgreSQL databases. At least once, under a stable id."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from yarl import URL

from processors.connectors.guard import Guard
from processors.runner.failures import Later
from schemas.definitions.outbound import Resource
from schemas.definitions.secret import Secret
from schemas.events import Answer
from schemas.storable import parsed
from workflows.waiting import HttpCall, QueryCall

#: Answers that say "later", not "never". All of 5xx does, too.
RETRIED = frozenset({408, 425, 429})
#: Of an answer, at most; and rows of a query's.
MAX_ANSWER_BYTES, MAX_ROWS = 64_000, 100
#: Of what was asked, the header that stays the same when it is asked again.
IDEMPOTENCY_KEY = "idempotency-key"
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode

#: Opens a sealed secret.
Reveal = Callable[[Secret], str]


class Outside:
    """Asks resources, with their credentials."""

    def __init__(self, client: aiohttp.ClientSession, guard: Guard, reveal: Reveal) -> None:
        """`client` connects through the guard, and follows no redirects."""
        self._client, self._guard, self._reveal = client, guard, reveal

    async def ask(
        self, id: str, call: HttpCall | QueryCall, resource: Resource | None, test: bool = False
    ) -> Answer | Later:
        """The answer. `test`: with the resource's test credentials, which it must have then."""
        wanted = "http" if isinstance(call, HttpCall) else "postgresql"
        if resource is None or resource.type != wanted:
            return Answer(error="unknown_resource")
        credentials = resource.test if test else resource.production
        if credentials is None:
            return Answer(error="no_test_credentials")
        try:
            headers = {name: self._reveal(secret) for name, secret in credentials.headers.items()}
            dsn = self._reveal(credentials.dsn) if credentials.dsn else ""
        except ValueError:
            return Later("unreadable_secret")  # no key opens it: that may be mended
        try:
            async with asyncio.timeout(call.timeout_s):
                if isinstance(call, HttpCall):
                    return await self._request(id, call, str(credentials.url), headers)
                return await self._query(call, dsn)
        except TimeoutError:
            return Later("timeout")
        except aiohttp.InvalidURL:
            return Answer(error="invalid_request")
        except (aiohttp.ClientError, OSError) as error:
            return Later(type(error).__name__)
        # What people wrote cannot be asked: a DSN, a statement and its values, a header.
        except (ValueError, TypeError, psycopg.Error):
            return Answer(error="invalid_request")

    async def _request(self, id: str, call: HttpCall, url: str, headers: dict[str, str]) -> Answer | Later:
        content = None if call.body is None else _encode(call.body)
        if content is not None:
            headers = {"content-type": "application/json", **headers}
        async with self._client.request(
            call.method,
            URL(url.rstrip("/") + call.path, encoded=True),
            data=content,
            headers={**headers, **call.headers, IDEMPOTENCY_KEY: id},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(call.timeout_s),
        ) as response:
            if response.status in RETRIED or response.status >= 500:
                return Later(f"http_{response.status}", retry_after(response.headers.get("retry-after", "")))
            content = await _read(response)
        if content is None:
            return Answer(error="answer_too_large")
        return _answer({"status": response.status, "body": _text_or_json(content)})

    async def _query(self, call: QueryCall, dsn: str) -> Answer | Later:
        dsn = await pinned(dsn, self._guard)
        try:
            connection = await psycopg.AsyncConnection[DictRow].connect(
                dsn, row_factory=dict_row, connect_timeout=5, application_name="headwater workflow"
            )
            async with connection:
                await connection.set_read_only(True)
                await connection.execute(f"set local statement_timeout = {int(call.timeout_s * 1000)}".encode())
                found = await _rows(connection, call)
        except psycopg.OperationalError as error:
            return Later(f"postgresql_{error.sqlstate or 'unavailable'}")
        except psycopg.Error as error:
            return Answer(error=f"postgresql_{error.sqlstate}")
        return _answer(found)


async def pinned(dsn: str, guard: Guard) -> str:
    """The DSN with the address that the guard has looked at. Raises ValueError where it names more than one host, or
    none; Refused, OSError."""
    parts = conninfo_to_dict(dsn)
    host, port = str(parts.get("host") or ""), str(parts.get("port") or "5432")
    if not host or "," in host or host.startswith("/") or parts.get("hostaddr"):
        raise ValueError("one host, by its name or address")
    addresses = await guard.resolve(host, int(port))
    return make_conninfo(dsn, host=host, hostaddr=addresses[0])


async def _rows(connection: psycopg.AsyncConnection[DictRow], call: QueryCall) -> list[DictRow]:
    """The first rows, as they come; more is not read. By the extended protocol: of several statements none runs."""
    found: list[DictRow] = []
    async with connection.cursor() as cursor:
        async for row in cursor.stream(call.sql.encode(), call.values or None):
            found.append(row)
            if len(found) == MAX_ROWS:
                break
    return found


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The body; None where it is too large."""
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > MAX_ANSWER_BYTES:
            return None
    return bytes(found)


def _text_or_json(content: bytes) -> Any:
    try:
        return msgspec.Raw(content) if content and msgspec.json.decode(content) is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return content.decode(errors="replace").replace("\0", "")


def _answer(value: Any) -> Answer:
    """What can be kept, as the events that it may get into."""
    written = _encode(value)
    if len(written) > MAX_ANSWER_BYTES:
        return Answer(error="answer_too_large")
    read, problem = parsed(msgspec.Raw(written))  # too deep, too large a number, U+0000
    return Answer(error=f"answer_{problem.code}") if problem else Answer(read)


def retry_after(value: str) -> float:
    """Seconds, from seconds or an HTTP date; at most two minutes are believed."""
    try:
        seconds = (
            float(value) if value.isdigit() else (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), 120.0)
