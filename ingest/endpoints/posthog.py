"""The paths that PostHog's libraries call."""

import asyncio
from typing import Any

from ingest.access import keys_of
from ingest.endpoints.collect import FORM
from ingest.endpoints.track import NONE_ACCEPTABLE
from ingest.intake import LARGE_BYTES, Intake
from ingest.libraries import posthog
from ingest.libraries.translated import placed
from ingest.refused import Refused
from ingest.replies import Reply, reply
from ingest.request import Request
from ingest.service import read, unreadable
from schemas.limits import MAX_BATCH_BYTES
from schemas.reading import PayloadError
from workflows.definitions import Definitions

TYPES = ("application/json", "text/plain", FORM)


async def capture(request: Request, intake: Intake, definitions: Definitions) -> Reply:
    """Captures, alone or in batches, in any of the wrappings that their libraries use. Raises Refused."""
    verdicts = await _take(request, intake, definitions)
    if all("reasons" in verdict for verdict in verdicts):
        raise Refused(400, *NONE_ACCEPTABLE)
    rejected = [verdict for verdict in verdicts if "reasons" in verdict]
    return reply(200, {"status": 1, **({"rejected": rejected} if rejected else {})})


async def capture_each(request: Request, intake: Intake, definitions: Definitions) -> Reply:
    """Their newer way: the same captures, and a result for each by its uuid. Raises Refused."""
    verdicts = await _take(request, intake, definitions)
    results = {verdict["id"]: {"result": "drop" if "reasons" in verdict else "ok"} for verdict in verdicts}
    return reply(200, {"results": results})


async def _take(request: Request, intake: Intake, definitions: Definitions) -> list[dict[str, Any]]:
    """A verdict for each capture. Raises Refused."""
    body = await request.body(TYPES, MAX_BATCH_BYTES)
    body = posthog.unwrapped(body, request.content_type, request.query.get("compression", ""), request.inflated)
    try:
        batch = posthog.read(body)
    except PayloadError as error:
        raise unreadable(error) from error
    if batch.sent_at is None:
        batch.sent_at = request.header("posthog-request-timestamp") or None
    source = intake.access.source(None, keys_of(request) | posthog.keys_of(batch), definitions)
    intake.access.admit(request, source, "posthog", definitions)  # before more is made of it

    def translate() -> list[tuple[bytes, list[int]]]:
        return placed(posthog.translated(batch, intake.hide), source.id)

    bodies = translate() if len(body) <= LARGE_BYTES else await asyncio.to_thread(translate)
    found = await intake.take(request, source, "posthog", [(one, read(one)) for one, _ in bodies], definitions)
    ids = posthog.ids_of(batch)
    return [
        verdict | {"id": ids[place] or verdict["id"]}
        for (_, places), one in zip(bodies, found, strict=True)
        for place, verdict in zip(places, one.events, strict=True)
    ]


async def flags(request: Request, intake: Intake, definitions: Definitions) -> Reply:
    """Feature flags, of which there are none: what libraries ask for goes on without."""
    return reply(
        200,
        {
            "flags": {},
            "featureFlags": {},
            "featureFlagPayloads": {},
            "errorsWhileComputingFlags": False,
            "supportedCompression": ["gzip", "gzip-js"],
            "sessionRecording": False,
            "toolbarParams": {},
            "isAuthenticated": False,
            "config": {"enable_collect_everything": True},
        },
    )
