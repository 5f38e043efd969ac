"""The tracker payload, read once and strictly, by the door and by validate alike.

Structure after the seed document "Tracker Payload"; the classes of bad input and their answers are in docs/input.md.
Two kinds of trouble: `PayloadError` (the payload as a whole cannot be read) and reasons on single events.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from schemas.events import EMPTY_OBJECT
from schemas.failures import Reason
from schemas.limits import (
    MAX_CONTEXT_BYTES,
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    MAX_ID_CHARS,
    MAX_TAGS,
    MAX_TYPE_CHARS,
)
from schemas.reading import PayloadError, read_json
from schemas.storable import parsed


class _Envelope(msgspec.Struct, gc=False):
    source: Any = None
    session: Any = None
    profile: Any = None
    context: msgspec.Raw = EMPTY_OBJECT
    events: list[msgspec.Raw] = []
    options: Any = None
    profile_less: Any = None
    sent_at: Any = None
    timestamp: Any = None


class _SentEvent(msgspec.Struct, gc=False):
    type: Any = None
    id: Any = None
    timestamp: Any = None
    time: Any = None
    properties: msgspec.Raw = EMPTY_OBJECT
    context: msgspec.Raw = EMPTY_OBJECT
    options: Any = None
    tags: Any = None


class TrackerPayload(msgspec.Struct, gc=False):
    """A payload whose outer parts could be read. `events` are untouched JSON; read each with `read_event`."""

    source: str | None
    session: str | None
    profile: str | None
    context: msgspec.Raw
    events: list[msgspec.Raw]
    save_events: bool
    #: False: its session is not kept; it still says whose the events are.
    save_session: bool
    #: Nobody's: its events have no profile, and make none.
    profile_less: bool
    #: When it was sent, by the client's clock: how far that is off, its events' times are.
    sent_at: datetime | None
    #: The time of events that have none of their own.
    timestamp: datetime | None
    #: What is wrong with the payload and therefore with each of its events.
    reasons: list[Reason]


class TrackerEvent(msgspec.Struct, gc=False):
    """One event as sent. Where `reasons` is not empty the other fields hold what could be read."""

    id: str | None
    type: str
    occurred_at: datetime | None
    properties: msgspec.Raw
    parsed_properties: dict[str, Any]
    context: msgspec.Raw
    tags: list[str]
    save: bool
    reasons: list[Reason]


_envelope = msgspec.json.Decoder(_Envelope).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_sent_event = msgspec.json.Decoder(_SentEvent).decode
#: What programs send as a session's id where they have none: it would make one person of all who do.
_NO_SESSION = frozenset(
    ("null", "undefined", "none", "nil", "nan", "[object object]", "00000000-0000-0000-0000-000000000000")
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._:-]*")
_CONTEXT = f"a context is a plain JSON object of at most {MAX_CONTEXT_BYTES} bytes"
_SPACES = re.compile(r"\s+")


def read_payload(body: bytes) -> TrackerPayload:
    """The payload in `body` (JSON, UTF-8). Raises PayloadError where it cannot be read as a whole."""
    envelope = _read_envelope(body)
    reasons: list[Reason] = []
    options = envelope.options if isinstance(envelope.options, dict) else {}
    if not _is_context(envelope.context) or parsed(envelope.context)[1]:
        reasons.append(Reason("invalid_context", "/context", _CONTEXT))
        envelope.context = EMPTY_OBJECT
    source = _id_in(envelope.source, "/source/id", "invalid_source", reasons)
    session = _id_in(envelope.session, "/session/id", "invalid_id", reasons)
    if session is not None and session.lower() in _NO_SESSION:
        reasons.append(Reason("invalid_id", "/session/id", "not a session's id, but what programs write for none"))
        session = None
    # A hint: one that cannot be read is none.
    sent_at = None if envelope.sent_at is None else _time(envelope.sent_at, "/sent_at", [])
    timestamp = None if envelope.timestamp is None else _time(envelope.timestamp, "/timestamp", reasons)
    return TrackerPayload(
        source=source,
        session=session,
        profile=_id_in(envelope.profile, "/profile/id", "invalid_id", reasons),
        context=envelope.context,
        events=envelope.events,
        save_events=options.get("saveEvents") is not False,
        save_session=options.get("saveSession") is not False,
        profile_less=envelope.profile_less is True or options.get("saveProfile") is False,
        sent_at=sent_at,
        timestamp=timestamp,
        reasons=reasons,
    )


def _read_envelope(body: bytes) -> _Envelope:
    envelope = read_json(_envelope, body)
    if not envelope.events:
        raise PayloadError("empty_batch")
    if len(envelope.events) > MAX_EVENTS:
        raise PayloadError("batch_too_large")
    return envelope


def read_event(raw: msgspec.Raw) -> TrackerEvent:
    """One event of a payload, with every reason found against it. Never raises for what a client can send."""
    event = TrackerEvent(None, "", None, EMPTY_OBJECT, {}, EMPTY_OBJECT, [], True, [])
    data = bytes(raw)
    if len(data) > MAX_EVENT_BYTES:
        event.reasons.append(Reason("event_too_large", "", f"an event may have {MAX_EVENT_BYTES} bytes"))
        return event
    value, problem = parsed(data)
    if problem is None and not isinstance(value, dict):
        problem = Reason("event_not_object", "", "an event is a JSON object with a type")
    if problem is not None:
        event.reasons.append(problem)
        return event
    _read_fields(_sent_event(raw), value, event)
    return event


def _read_fields(sent: _SentEvent, value: dict[str, Any], event: TrackerEvent) -> None:
    """`value` is the same event, with its parts as Python objects."""
    reasons = event.reasons
    event.type = normalise_type(sent.type)
    if not event.type:
        reasons.append(Reason("invalid_type", "/type", "1-100 characters: letters, digits, - _ . : and spaces"))
    if sent.id is not None:
        event.id = _checked_id(sent.id)
        if event.id is None:
            reasons.append(Reason("invalid_event_id", "/id", "a string of 1-100 printable characters"))
    event.occurred_at = _occurred_at(sent, reasons)
    properties = value.get("properties", event.parsed_properties)
    if isinstance(properties, dict):
        event.properties, event.parsed_properties = sent.properties, properties
    else:
        reasons.append(Reason("invalid_properties", "/properties", "properties are a JSON object"))
    if "context" not in value or _is_context(sent.context):
        event.context = sent.context
    else:
        reasons.append(Reason("invalid_context", "/context", _CONTEXT))
    if sent.tags is not None:
        event.tags = _tags(sent.tags, reasons)
    options = sent.options if isinstance(sent.options, dict) else {}
    event.save = options.get("saveEvents") is not False


def normalise_type(value: Any) -> str:
    """The one form of an event type's name, or "" where it has none.

    Trimmed, lower-cased, runs of spaces become `-`: `Order Completed` is `order-completed`. After that only
    `a-z 0-9 - _ . :` may stand in it, a letter or digit first.
    """
    return _normalised(value) if isinstance(value, str) and 0 < len(value) <= MAX_TYPE_CHARS else ""


@lru_cache(2000)
def _normalised(value: str) -> str:
    name = _SPACES.sub("-", value.strip().lower())
    return name if _NAME.fullmatch(name) else ""


def _occurred_at(sent: _SentEvent, reasons: list[Reason]) -> datetime | None:
    path, value = "/timestamp", sent.timestamp
    if value is None and isinstance(sent.time, dict):
        key = "insert" if sent.time.get("insert") is not None else "create"
        path, value = f"/time/{key}", sent.time.get(key)
    return None if value is None else _time(value, path, reasons)


def _time(value: Any, path: str, reasons: list[Reason]) -> datetime | None:
    try:
        time = msgspec.convert(value, datetime, strict=True)
        if time.tzinfo is UTC:
            return time
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        reasons.append(Reason("invalid_timestamp", path, "ISO 8601 with date and time, years 1 to 9999"))
        return None


def _tags(value: Any, reasons: list[Reason]) -> list[str]:
    if isinstance(value, list) and len(value) <= MAX_TAGS and all(_checked_id(tag) for tag in value):
        return value
    reasons.append(Reason("invalid_tags", "/tags", f"at most {MAX_TAGS} strings of 1-100 printable characters"))
    return []


def context_of(payload: TrackerPayload, event: TrackerEvent) -> msgspec.Raw:
    """The payload's context with the event's own, and its tags, on top, key by key."""
    context, own = payload.context, event.context
    if not event.tags and bytes(own) == b"{}":
        return context
    if not event.tags and bytes(context) == b"{}":
        return own
    tags = {"tags": msgspec.Raw(msgspec.json.encode(event.tags))} if event.tags else {}
    return msgspec.Raw(msgspec.json.encode(_object(context) | _object(own) | tags))


def _id_in(part: Any, path: str, code: str, reasons: list[Reason]) -> str | None:
    if part is None:
        return None
    value = part.get("id") if isinstance(part, dict) else part
    if value is None and isinstance(part, dict):
        return None
    checked = _checked_id(value) if isinstance(part, dict) else None
    if checked is None:
        reasons.append(Reason(code, path, "a string of 1-100 printable characters"))
    return checked


def _checked_id(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    value = value.strip()
    return value if 0 < len(value) <= MAX_ID_CHARS and value.isprintable() else None


def _is_context(raw: msgspec.Raw) -> bool:
    data = bytes(raw)
    return data.startswith(b"{") and len(data) <= MAX_CONTEXT_BYTES
