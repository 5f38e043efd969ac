"""`POST /track`: a tracker payload, which becomes one record, as it came."""

import asyncio

from ingest.access import keys_of
from ingest.intake import LARGE_BYTES, Intake, none_acceptable
from ingest.refused import Refused
from ingest.replies import Reply, problem, reply
from ingest.request import Request
from ingest.service import read
from schemas.limits import MAX_BODY_BYTES
from workflows.definitions import Definitions

TYPES = ("application/json", "text/plain")
NONE_ACCEPTABLE = ("no_acceptable_event", "every event was rejected")


async def track(request: Request, intake: Intake, definitions: Definitions) -> Reply:
    """The payload's own ids, and a verdict for each event. Raises Refused."""
    body = await request.body(TYPES, MAX_BODY_BYTES)
    payload = read(body) if len(body) <= LARGE_BYTES else await asyncio.to_thread(read, body)
    if payload.source is None:
        raise Refused(401, "no_source", "source.id is not a usable id")
    source = intake.access.source(payload.source, keys_of(request), definitions)
    [found] = await intake.take(request, source, "http", [(body, payload)], definitions)
    said = {"session": found.session, "profile": found.profile, "events": found.events}
    if found.rejected and none_acceptable([found]):
        return reply(400, {**problem(*NONE_ACCEPTABLE, request.id), **said})
    return reply(200, said)
