"""What the door answers to a payload: pure, given the definitions in force."""

from typing import Any

import msgspec

from schemas.failures import Reason
from schemas.origin import Origin, event_id_of
from schemas.payload import PayloadError, TrackerEvent, TrackerPayload, read_event, read_payload
from workflows.definitions import Definitions
from workflows.identity import ProfileIds
from workflows.sources import source_reasons

#: HTTP status of what is refused for its source; everything else that is refused as a whole is a 400 or 413.
_SOURCE_STATUS = {"no_source": 401, "unknown_source": 401, "source_disabled": 404, "bridge_not_allowed": 403}


class Refused(Exception):
    """The payload is not taken at all; nothing of it is written."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Checked(msgspec.Struct):
    """A payload that may be written, and what to say once it is."""

    body: bytes
    payload: TrackerPayload
    events: list[TrackerEvent]
    reasons: list[list[Reason]]
    key: str
    profile_client_made: bool
    #: Whose request it is, is noted beside it.
    notes_client: bool


def check(body: bytes, definitions: Definitions) -> Checked:
    """Read and check a payload. Raises Refused for one that cannot be read, or whose source may not send here."""
    try:
        payload = read_payload(body)
    except PayloadError as error:
        status = 413 if error.code == "batch_too_large" else 400
        raise Refused(status, error.code, "the payload cannot be read; see docs/input.md") from error
    if payload.source is None and any(reason.code == "invalid_source" for reason in payload.reasons):
        raise Refused(401, "no_source", "source.id is not a usable id")
    for reason in source_reasons(payload.source, definitions, "http"):
        raise Refused(_SOURCE_STATUS[reason.code], reason.code, reason.message)
    events = [read_event(raw) for raw in payload.events]
    reasons = [payload.reasons + event.reasons for event in events]
    for event, found in zip(events, reasons, strict=True):
        if not found and (schema := definitions.schemas.get(event.type)):
            found.extend(schema.reasons(event.parsed_properties))
    key = payload.session or payload.profile or events[0].id or ""
    source = definitions.sources[payload.source or ""]
    return Checked(body, payload, events, reasons, key, source.client_profile_ids, "client" in source.enrich)


def answer(checked: Checked, partition: int, offset: int, profile_ids: ProfileIds) -> dict[str, Any]:
    """What the client learns once Kafka has the payload: session, profile, and an id and a verdict for each event."""
    payload = checked.payload
    verdicts = []
    for ordinal, (event, reasons) in enumerate(zip(checked.events, checked.reasons, strict=True)):
        id = event.id or event_id_of(Origin(partition, offset, ordinal))
        verdict: dict[str, Any] = {"id": id, "status": "rejected" if reasons else "accepted"}
        if reasons:
            verdict["reasons"] = reasons
        verdicts.append(verdict)
    profile = None
    if not payload.profile_less:
        client_made = checked.profile_client_made
        id = profile_ids.resolve(payload.source or "", payload.session, payload.profile, verdicts[0]["id"], client_made)
        profile = {"id": id}
    return {
        "session": {"id": payload.session} if payload.session else None,
        "profile": profile,
        "events": verdicts,
    }
