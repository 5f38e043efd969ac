"""Trying definitions out on an event: nothing is stored, nothing is sent."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from deploy.definitions import in_force, read_folder, require_whole
from deploy.settings import Settings, connected
from schemas.events import TrackedPayload, ValidEvent
from schemas.failures import Reason, RejectedEvent
from schemas.payload import TrackerPayload, read_event, read_payload
from schemas.reading import PayloadError
from workflows.actions.builtin import load_actions
from workflows.definitions import Definitions
from workflows.enriching import Locate
from workflows.identity import ProfileIds
from workflows.judgement import Judgement


class RehearsalError(ValueError):
    """What was given cannot be tried out. The message says why."""


class Rehearsed(msgspec.Struct):
    """One event as it was sent and as it comes out of validate, and the reshaping that it went through."""

    before: dict[str, Any]
    by: str | None
    after: dict[str, Any] | None
    reasons: list[Reason]


async def definitions_from(folder: Path | None, settings: Settings) -> Definitions:
    """Those in a folder, not applied yet, or those in force. Raises DefinitionError."""
    if folder is not None:
        require_whole(definitions := read_folder(folder))
        return Definitions(definitions.values(), load_actions())
    async with await psycopg.AsyncConnection.connect(connected(settings).database_url) as connection:
        return await in_force(connection)


def rehearse(body: bytes, source: str | None, definitions: Definitions, locate: Locate) -> list[Rehearsed]:
    """What validate makes of a payload, or of one event of a source. Raises RehearsalError."""
    payload = _read(body, source, definitions)
    judgement, found = _judgement(payload, definitions, locate), []
    for number, raw in enumerate(payload.events):
        event, by = judgement.event(number, raw)
        sent = read_event(raw)
        before = {"type": sent.type, "properties": sent.parsed_properties, "context": sent.context}
        found.append(
            Rehearsed(
                before=msgspec.json.decode(msgspec.json.encode(before)),
                by=by,
                after=_after(event) if isinstance(event, ValidEvent) else None,
                reasons=event.reasons if isinstance(event, RejectedEvent) else [],
            )
        )
    return found


def judged(body: bytes, source: str | None, definitions: Definitions, locate: Locate) -> ValidEvent:
    """The first event of a payload, or one event of a source, as it comes out of validate. Raises RehearsalError."""
    payload = _read(body, source, definitions)
    event, _ = _judgement(payload, definitions, locate).event(0, payload.events[0])
    if isinstance(event, RejectedEvent):
        raise RehearsalError(f"the event is rejected: {event.reasons[0].code} {event.reasons[0].path}".rstrip())
    return event


def _read(body: bytes, source: str | None, definitions: Definitions) -> TrackerPayload:
    try:
        return read_payload(_as_payload(body, source, definitions))
    except PayloadError as error:
        raise RehearsalError(f"this is no payload: {error.code}") from error


def _judgement(payload: TrackerPayload, definitions: Definitions, locate: Locate) -> Judgement:
    tracked = TrackedPayload(partition=0, offset=0, received_at=datetime.now(UTC), body=b"", bridge="workflow")
    return Judgement(tracked, None, payload, definitions, ProfileIds(b"nothing of this is kept"), locate)


def _after(event: ValidEvent) -> dict[str, Any]:
    return {
        "type": event.type,
        "properties": msgspec.json.decode(event.properties),
        "context": msgspec.json.decode(event.context),
    }


def _as_payload(body: bytes, source: str | None, definitions: Definitions) -> bytes:
    """A payload as it is, a single event wrapped into one."""
    try:
        given = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise RehearsalError(f"this is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise RehearsalError("an event, or a payload, is a JSON object")
    if "events" in given:
        return body
    if source is None and len(definitions.sources) != 1:
        raise RehearsalError("say whose event it is: --source")
    return msgspec.json.encode({"source": {"id": source or next(iter(definitions.sources))}, "events": [given]})
