"""What a bridge makes of a record that others wrote: a payload with one event. Pure."""

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from schemas.definitions.inbound import KafkaBridge
from schemas.events import BridgedPayload, ForeignRecord
from schemas.limits import MAX_ID_CHARS
from workflows.identifiers import value_at

#: What is larger counts milliseconds: in seconds it would be the year 5138.
_SECONDS_BELOW = 100_000_000_000


def bridged(record: ForeignRecord, bridge: KafkaBridge) -> BridgedPayload:
    """The payload, to be judged as any other: what is wrong with it, validate says, and keeps it.

    Without an id of its own the event has one of its place, so that it counts once however often it is read.
    """
    whole = {"key": record.key, "headers": record.headers, "value": record.value}
    paths = bridge.paths

    def at(path: str | None) -> Any:
        return None if path is None else value_at(whole, path)

    event = {
        "type": bridge.event_type or at(paths.type),
        "id": _id(at(paths.event_id)) or _place(record),
        "properties": at(paths.properties),
    }
    payload: dict[str, Any] = {"source": {"id": bridge.source}, "events": [event]}
    if (time := at(paths.timestamp)) is not None:
        event["timestamp"] = _time(time)
    else:
        # Not the event's own: a record that is written again is the same event.
        payload["timestamp"] = _time(record.timestamp)
    session, profile = _id(at(paths.session)), _id(at(paths.profile))
    if session is not None:
        payload["session"] = {"id": session}
    if profile is not None:
        payload["profile"] = {"id": profile}
    if (context := at(paths.context)) is not None:
        payload["context"] = context
    key = session or profile or event["id"]
    return BridgedPayload(key if isinstance(key, str) else "", msgspec.Raw(msgspec.json.encode(payload)))


def _id(value: Any) -> Any:
    """A number is an id as text; what is neither text nor number is rejected for it later."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _place(record: ForeignRecord) -> str:
    name = f"{record.topic.partition(':')[2]}-{record.partition}-{record.offset}"
    return name if len(name) <= MAX_ID_CHARS else blake2b(name.encode(), digest_size=20).hexdigest()


def _time(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return datetime.fromtimestamp(value if abs(value) < _SECONDS_BELOW else value / 1000, UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        return value
