"""Avro as Confluent's schema registries have it: a byte 0, the schema's id in four bytes, the value."""

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
import fastavro
import fastavro.validation
import msgspec
from yarl import URL

from processors.runner.failures import Poison, Unavailable
from schemas.definitions.outbound import Avro

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
TIMEOUT_S, MAX_ANSWER_BYTES = 10.0, 1_000_000


class RegistryPlace(NamedTuple):
    """Where a registry is, and the headers that let us in."""

    url: str
    headers: Mapping[str, str]


class AvroValues:
    """Encodes values by schemas that it registers, each once a process."""

    def __init__(self, client: aiohttp.ClientSession, place_of: Callable[[str], RegistryPlace | None]) -> None:
        """`client` connects through the guard; `place_of` finds an http resource, and raises ValueError where its
        secrets cannot be opened."""
        self._client, self._place_of = client, place_of
        #: (registry's address, subject, schema) to the id, and the schema as fastavro wants it.
        self._known: dict[tuple[str, str, bytes], tuple[int, Any]] = {}

    async def encoder(self, avro: Avro, topic: str) -> Callable[[Mapping[str, Any]], bytes]:
        """What encodes values of this topic. Raises Unavailable where the registry does not take the schema; what it
        returns raises Poison for a value that is not of the schema."""
        place = self._place_of(avro.registry)
        if place is None:
            raise Unavailable("schema registry removed")
        subject, text = quote(avro.subject or f"{topic}-value", safe=""), msgspec.json.encode(avro.record)
        key = place.url, subject, text
        if key not in self._known:
            self._known[key] = await self._register(place, subject, text), fastavro.parse_schema(avro.record)
        id, schema = self._known[key]
        return lambda value: _encoded(id, schema, value)

    async def _register(self, place: RegistryPlace, subject: str, schema: bytes) -> int:
        """The schema's id; a schema that is there already keeps its own."""
        try:
            async with self._client.post(
                URL(f"{place.url.rstrip('/')}/subjects/{subject}/versions", encoded=True),
                data=msgspec.json.encode({"schema": schema.decode(), "schemaType": "AVRO"}),
                headers={**place.headers, "content-type": CONTENT_TYPE},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(TIMEOUT_S),
            ) as response:
                if response.status != 200:
                    raise Unavailable(f"schema registry answered {response.status}")
                id = msgspec.json.decode(await _read(response))["id"]
                if not isinstance(id, int) or not 0 <= id < 2**32:
                    raise Unavailable("schema registry's answer")
                return id
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("schema registry") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The answer, which may hold the schema. Raises ValueError for one that is too large."""
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > MAX_ANSWER_BYTES:
            raise ValueError("too large an answer")
    return bytes(found)


def wrong_schema(schema: Mapping[str, Any]) -> str | None:
    """Why it is no Avro schema of a record, for whoever wrote it."""
    try:
        parsed: Any = fastavro.parse_schema(dict(schema))
    # fastavro raises what it stumbles over.
    except Exception as error:
        return f"topic.avro.schema: {type(error).__name__}: {error}"
    return None if parsed["type"] == "record" else "topic.avro.schema: a record is wanted"


def _encoded(id: int, schema: Any, value: Mapping[str, Any]) -> bytes:
    written = io.BytesIO()
    written.write(b"\0" + id.to_bytes(4, "big"))
    try:
        # The writer alone would make something of what is of another type.
        fastavro.validation.validate(value, schema, raise_errors=True)
        fastavro.schemaless_writer(written, schema, value, strict_allow_default=True)
    # fastavro raises whatever the value made it raise; all of them mean that it is not of the schema.
    except Exception as error:
        raise Poison("refused_by_destination", f"avro {type(error).__name__}") from error
    return written.getvalue()
