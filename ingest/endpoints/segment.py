"""The paths that Segment's and RudderStack's libraries call."""

import asyncio
from base64 import b64decode
from typing import Any

import msgspec

from ingest.access import keys_of
from ingest.endpoints.track import NONE_ACCEPTABLE, TYPES
from ingest.intake import LARGE_BYTES, Handler, Intake, Read, none_acceptable
from ingest.libraries import segment
from ingest.libraries.translated import payloads
from ingest.refused import Refused
from ingest.replies import Reply, reply
from ingest.request import Request
from ingest.service import read, unreadable
from schemas.limits import MAX_BATCH_BYTES
from schemas.reading import PayloadError
from workflows.definitions import Definitions

#: One transparent pixel.
_GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_ENABLED = {"__default": {"enabled": True, "integrations": {}}}


def taking(kind: str) -> Handler:
    """What takes messages of a kind (track, identify, ...), or a `batch` of any."""

    async def take(request: Request, intake: Intake, definitions: Definitions) -> Reply:
        rejected = await _take(await request.body(TYPES, MAX_BATCH_BYTES), kind, request, intake, definitions)
        return reply(200, {"success": True, **({"rejected": rejected} if rejected else {})})

    return take


def pixel(kind: str) -> Handler:
    """What takes a message from a query: in base64 as `data`, or its fields as parameters. The answer is a picture."""

    async def take(request: Request, intake: Intake, definitions: Definitions) -> Reply:
        await _take(_in_query(request.query), kind, request, intake, definitions)
        return 200, [("content-type", "image/gif"), ("cache-control", "no-store")], _GIF

    return take


async def settings(request: Request, intake: Intake, definitions: Definitions) -> Reply:
    """What analytics.js asks for before it begins: where to send, and nothing to load."""
    key, *rest = request.path.split("/")[3:]
    if rest != ["settings"]:
        raise Refused(404, "not_found", "there is nothing here")
    source = intake.access.source(None, [key], definitions)
    return reply(
        200,
        {
            "integrations": {
                "Segment.io": {
                    "apiKey": key,
                    "apiHost": f"{request.header('host')}/v1",
                    **({"protocol": request.scheme} if request.scheme == "http" else {}),
                    "unbundledIntegrations": [],
                    "addBundledMetadata": True,
                    "maybeBundledConfigIds": {},
                    "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
                }
            },
            "plan": {"track": _ENABLED, "identify": _ENABLED, "group": _ENABLED},
            "edgeFunction": {},
            "analyticsNextEnabled": True,
            "middlewareSettings": {},
            "enabledMiddleware": {},
            "metrics": {"sampleRate": 0},
            "legacyVideoPluginsEnabled": False,
            "remotePlugins": [],
            "source": source.id,
        },
    )


async def source_config(request: Request, intake: Intake, definitions: Definitions) -> Reply:
    """What RudderStack's library for browsers asks for before it begins: a source without destinations of its own."""
    source = intake.access.source(None, keys_of(request), definitions)
    return reply(
        200,
        {
            "source": {
                "id": source.id,
                "name": source.id,
                "writeKey": next(iter(keys_of(request)), ""),
                "enabled": source.enabled,
                "workspaceId": "headwater",
                "config": {"statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}},
                "connections": [],
                "destinations": [],
                "dataplanes": {},
            },
            "updatedAt": "1970-01-01T00:00:00.000Z",
        },
    )


async def _take(
    body: bytes, kind: str, request: Request, intake: Intake, definitions: Definitions
) -> list[dict[str, Any]]:
    """The verdicts on what was rejected beside others. Raises Refused, also where everything was."""
    try:
        batch = segment.read(body, kind)
    except PayloadError as error:
        raise unreadable(error) from error
    source = intake.access.source(None, keys_of(request) | segment.keys_of(batch), definitions)
    intake.access.admit(request, source, "segment", definitions)  # before more is made of it

    def translate() -> list[Read]:
        return [(one, read(one)) for one in payloads(segment.translated(batch, intake.hide), source.id)]

    bodies = translate() if len(body) <= LARGE_BYTES else await asyncio.to_thread(translate)
    found = await intake.take(request, source, "segment", bodies, definitions)
    if none_acceptable(found):
        raise Refused(400, *NONE_ACCEPTABLE)
    return [verdict for one in found for verdict in one.rejected]


def _in_query(query: dict[str, str]) -> bytes:
    if "data" in query:
        try:
            return b64decode(query["data"] + "=" * (-len(query["data"]) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise Refused(400, "bad_encoding", "`data` is a message in base64") from error
    message: dict[str, Any] = {}
    for name, value in query.items():
        part, dot, field = name.partition(".")
        if dot and part in ("properties", "context", "traits"):
            message.setdefault(part, {})[field] = value
        else:
            message[name] = value
    return msgspec.json.encode(message)
