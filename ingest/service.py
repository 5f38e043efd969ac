"""What the door answers to a payload: pure, given the definitions in force."""

from typing import Any

import msgspec

from ingest.refused import Refused
from schemas.definitions.inbound import Source
from schemas.failures import Reason
from schemas.origin import Origin, event_id_of
from schemas.payload import TrackerPayload, read_event, read_payload
from schemas.reading import PayloadError
from workflows.definitions import Definitions
from workflows.identity import ProfileIds


class Checked(msgspec.Struct):
    """A payload that may be written, and what to say once it is."""

    body: bytes
    payload: TrackerPayload
    #: Of each event, as it was sent. The events themselves are gone before Kafka is waited for: hundreds of requests
    #: wait at a time, and what was parsed for them would be cold when it is let go.
    ids: list[str | None]
    reasons: list[list[Reason]]
    key: str
    profile_client_made: bool
    #: Whose request it is, is noted beside it.
    notes_client: bool


def read(body: bytes) -> TrackerPayload:
    """The payload in a body. Raises Refused for what cannot be read as a whole."""
    try:
        return read_payload(body)
    except PayloadError as error:
        raise unreadable(error) from error


def unreadable(error: PayloadError) -> Refused:
    """What is said to who sent it."""
    status = 413 if error.code == "batch_too_large" else 400
    where = f" from byte {error.byte} on" if error.byte else ""
    return Refused(status, error.code, f"the body cannot be read{where}; see docs/input.md")


def check(body: bytes, payload: TrackerPayload, source: Source, definitions: Definitions) -> Checked:
    """What is to be said of each event, for a source that may send it."""
    ids: list[str | None] = []
    reasons: list[list[Reason]] = []
    for raw in payload.events:
        event = read_event(raw)
        found = payload.reasons + event.reasons
        if not found and (schema := definitions.schemas.get(event.type)):
            found.extend(schema.reasons(event.parsed_properties))
        ids.append(event.id)
        reasons.append(found)
    key = payload.session or payload.profile or ids[0] or ""
    return Checked(body, payload, ids, reasons, key, source.client_profile_ids, "client" in source.enrich)


class Taken(msgspec.Struct):
    """A payload that Kafka has: session, profile, and an id and a verdict for each event."""

    session: dict[str, str] | None
    profile: dict[str, str] | None
    events: list[dict[str, Any]]
    #: Those of the verdicts that say that it is stored as wrong.
    rejected: list[dict[str, Any]]


def taken(checked: Checked, partition: int, offset: int, profile_ids: ProfileIds) -> Taken:
    """What the client learns once Kafka has the payload."""
    payload = checked.payload
    verdicts, rejected = [], []
    for ordinal, (sent, reasons) in enumerate(zip(checked.ids, checked.reasons, strict=True)):
        id = sent or event_id_of(Origin(partition, offset, ordinal))
        verdict: dict[str, Any] = {"id": id, "status": "rejected" if reasons else "accepted"}
        if reasons:
            verdict["reasons"] = reasons
            rejected.append(verdict)
        verdicts.append(verdict)
    profile = None
    if not payload.profile_less:
        client_made = checked.profile_client_made
        id = profile_ids.resolve(payload.source or "", payload.session, payload.profile, verdicts[0]["id"], client_made)
        profile = {"id": id}
    return Taken({"id": payload.session} if payload.session else None, profile, verdicts, rejected)
