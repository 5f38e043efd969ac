"""`/collect/TYPE/SOURCE[/SESSION]`: webhooks of anybody, who cannot be told what to send; `/redirect/ID[/SESSION]`."""

from typing import Any

from ingest.access import keys_of
from ingest.endpoints.track import NONE_ACCEPTABLE
from ingest.intake import Intake, none_acceptable
from ingest.libraries.translated import Translated, payloads, written
from ingest.libraries.webhook import read, translated
from ingest.refused import Refused
from ingest.replies import Reply, problem, reply
from ingest.request import Request, fields_of
from ingest.service import read as read_payload
from ingest.service import unreadable
from schemas.limits import MAX_BATCH_BYTES, MAX_ID_CHARS
from schemas.payload import PayloadError
from workflows.definitions import Definitions

FORM = "application/x-www-form-urlencoded"
TYPES = ("application/json", "text/plain", FORM)
#: Where somebody's session stands who follows a link.
_COOKIES = ("headwater-session", "tracardi-session-id")


async def collect(request: Request, intake: Intake, definitions: Definitions) -> Reply:
    """A body, a form or a query as an event's properties; a list of bodies as so many. Raises Refused."""
    type, named, *rest = _parts(request.path, 2)
    session = rest[0] if rest else None
    source = intake.access.source(named, keys_of(request), definitions)
    found = await _properties(request)
    event_id = request.header("webhook-id") or None
    messages = [translated(one, type, session, event_id if len(found) == 1 else None, source.webhook) for one in found]
    bodies = [(body, read_payload(body)) for body in payloads(messages, source.id)]
    took = await intake.take(request, source, "collect", bodies, definitions)
    events = [verdict for one in took for verdict in one.events]
    said = {"session": took[0].session, "profile": took[0].profile, "events": events}
    if none_acceptable(took):
        return reply(400, {**problem(*NONE_ACCEPTABLE, request.id), **said})
    return reply(200, said)


async def _properties(request: Request) -> list[Any]:
    if request.method == "GET":
        return [written(request.query)]
    body = await request.body(TYPES, MAX_BATCH_BYTES)
    if request.content_type == FORM:
        try:
            return [written(fields_of(body.decode()))]
        except UnicodeDecodeError as error:
            raise Refused(400, "invalid_encoding", "a form is UTF-8") from error
    try:
        return list(read(body))
    except PayloadError as error:
        raise unreadable(error) from error


async def redirect(request: Request, intake: Intake, definitions: Definitions) -> Reply:
    """An event, and on to where the link leads: there, and nowhere else, whatever the request says.

    Who follows a link arrives, even where the event cannot be taken: nothing was acknowledged. Raises Refused for a
    link that is not defined.
    """
    id, *rest = _parts(request.path, 1)
    link = definitions.redirects.get(id)
    if link is None or not link.enabled:
        raise Refused(404, "not_found", "there is no such link")
    session = rest[0] if rest else _session_of(request.header("cookie"))
    to: Reply = (302, [("location", link.url), ("cache-control", "no-store")], b"")
    try:
        source = intake.access.source(link.source, keys_of(request), definitions)
        event = {"type": link.event_type, "properties": {**request.query, **link.properties}}
        bodies = payloads([Translated(event, session, nobodys=session is None)], source.id)
        await intake.take(request, source, "redirect", [(body, read_payload(body)) for body in bodies], definitions)
    except Refused as refused:
        intake.count(refused.code)
    return to


def _parts(path: str, least: int) -> list[str]:
    """What stands behind the first part of a path: so many parts, or one more, a session. Raises Refused."""
    parts = path.split("/")[2:]
    # What is no UTF-8 has become U+FFFD: it must not make one session of many.
    fit = all(0 < len(part) <= MAX_ID_CHARS and "\ufffd" not in part for part in parts)
    if not fit or not least <= len(parts) <= least + 1:
        raise Refused(404, "not_found", "the path has a part too many, too few or too long")
    return parts


def _session_of(cookies: str) -> str | None:
    found = dict(one.strip().partition("=")[::2] for one in cookies.split(";"))
    return next((found[name] for name in _COOKIES if found.get(name)), None)
