"""`/collect/TYPE/SOURCE[/SESSION]`: webhooks of anybody, who cannot be told what to send; `/redirect/ID[/SESSION]`."""

from typing import Any

from ingest.access import keys_of, without_keys
from ingest.endpoints.track import NONE_ACCEPTABLE
from ingest.intake import Intake, none_acceptable
from ingest.libraries.translated import Translated, payloads, placed, written
from ingest.libraries.webhook import read, translated
from ingest.refused import Refused
from ingest.replies import Reply, problem, reply
from ingest.request import Request, fields_of
from ingest.service import read as read_payload
from ingest.service import unreadable
from schemas.limits import MAX_BATCH_BYTES, MAX_ID_CHARS
from schemas.reading import PayloadError
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
    found = await _properties(request, definitions)
    messages = [
        translated(one, type, session, _event_id(request.header("webhook-id"), number), source.webhook)
        for number, one in enumerate(found)
    ]
    bodies = placed(messages, source.id)
    took = await intake.take(
        request, source, "collect", [(body, read_payload(body)) for body, _ in bodies], definitions
    )
    verdicts = [
        (place, verdict)
        for (_, places), one in zip(bodies, took, strict=True)
        for place, verdict in zip(places, one.events, strict=True)
    ]
    events = [verdict for _, verdict in sorted(verdicts, key=lambda one: one[0])]
    said = {"session": took[0].session, "profile": took[0].profile, "events": events}
    if none_acceptable(took):
        return reply(400, {**problem(*NONE_ACCEPTABLE, request.id), **said})
    return reply(200, said)


def _event_id(webhook_id: str, number: int) -> str | None:
    """What is sent again has the same ids, a list's bodies too."""
    return f"{webhook_id}.{number}" if webhook_id and number else webhook_id or None


async def _properties(request: Request, definitions: Definitions) -> list[Any]:
    if request.method == "GET" or not request.has_body:
        return [written(without_keys(request.query, definitions))]
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
    id, *rest = request.path.split("/")[2:]
    link = definitions.redirects.get(id)
    if link is None or not link.enabled or link.source not in definitions.sources or len(rest) > 1 or rest == [""]:
        raise Refused(404, "not_found", "there is no such link")
    named = rest[0] if rest else _session_of(request.header("cookie"))
    session = named if named and _is_part(named) else None
    to: Reply = (302, [("location", link.url), ("cache-control", "no-store")], b"")
    try:
        # Its definition lets it in: whoever follows a link has no key.
        source = definitions.sources[link.source]
        event = {"type": link.event_type, "properties": {**without_keys(request.query, definitions), **link.properties}}
        bodies = payloads([Translated(event, session, nobodys=session is None)], source.id)
        await intake.take(request, source, "redirect", [(body, read_payload(body)) for body in bodies], definitions)
    except Refused as refused:
        request.outcome = refused.code
    return to


def _parts(path: str, least: int) -> list[str]:
    """What stands behind the first part of a path: so many parts, or one more, a session. Raises Refused."""
    parts = path.split("/")[2:]
    if not all(map(_is_part, parts)) or not least <= len(parts) <= least + 1:
        raise Refused(404, "not_found", "the path has a part too many, too few or too long")
    return parts


def _is_part(part: str) -> bool:
    """What is no UTF-8 has become U+FFFD: it must not make one session of many."""
    return 0 < len(part) <= MAX_ID_CHARS and "\ufffd" not in part


def _session_of(cookies: str) -> str | None:
    found = dict(one.strip().partition("=")[::2] for one in cookies.split(";"))
    return next((found[name] for name in _COOKIES if found.get(name)), None)
