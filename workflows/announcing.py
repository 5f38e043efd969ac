"""System events: what identify and segment find out, as events of their own, where definitions ask for them. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from schemas.events import EmittedEvent, ValidEvent
from schemas.limits import MAX_HOPS
from schemas.origin import Origin, derived_id
from schemas.profiles import ProfileChange
from workflows.definitions import Definitions
from workflows.remembering import VISIT_ENDED
from workflows.resolution import Resolution

#: What the first event of a session says: a session is a visit.
_OF_SESSIONS = ("session-opened", "visit-started")


def announced(resolution: Resolution, owners: Mapping[Origin, str], definitions: Definitions) -> Iterator[EmittedEvent]:
    """`profile-created`, `session-opened` and `visit-started` events; `owners` has the profile of each event that came
    in.

    Their ids follow from whom they are about: said again, they are duplicates.
    """
    for profile, event in resolution.first_of_profiles:
        if event.origin in owners and _is_asked(event, "profile-created", definitions):
            yield _of(event, "profile-created", profile, derived_id("profile-created", profile))
    for event in resolution.first_of_sessions:
        for type in _OF_SESSIONS:
            if event.origin in owners and _is_asked(event, type, definitions):
                yield _of(event, type, owners[event.origin], derived_id(type, event.source, event.session))


def visit_over(source: str, session: str, profile: str, last_at: datetime, idle: timedelta) -> EmittedEvent:
    """The `visit-ended` event of a session of which nothing was heard for so long; said again, it is a duplicate."""
    sent = {
        "id": derived_id(VISIT_ENDED, source, session),
        "type": VISIT_ENDED,
        "timestamp": last_at + idle,
        "properties": {"idle_minutes": int(idle.total_seconds() / 60)},
    }
    return EmittedEvent(key=session, hops=1, payload=_payload(source, profile, session, sent))


def segment_events(change: ProfileChange, definitions: Definitions) -> Iterator[EmittedEvent]:
    """A `segment-entered` or `segment-left` event for each segment that says so under a source; said again, they are
    duplicates."""
    if change.quiet or change.back_fill or change.hops >= MAX_HOPS:
        return
    for type, segments in (("segment-entered", change.entered), ("segment-left", change.left)):
        for segment in segments:
            if source := definitions.announcing_segments.get(segment):
                id = derived_id(type, segment, change.profile, change.version)
                sent = {"id": id, "type": type, "timestamp": change.at, "properties": {"segment": segment}}
                payload = _payload(source, change.profile, None, sent)
                yield EmittedEvent(key=change.profile, hops=change.hops + 1, payload=payload)


def _is_asked(event: ValidEvent, type: str, definitions: Definitions) -> bool:
    source = definitions.sources.get(event.source)
    return source is not None and type in source.system_events and event.hops < MAX_HOPS


def _of(event: ValidEvent, type: str, profile: str, id: str) -> EmittedEvent:
    sent = {"id": id, "type": type, "timestamp": event.occurred_at, "properties": {"first_event": event.id}}
    payload = _payload(event.source, profile, event.session, sent, event.save)
    return EmittedEvent(key=event.session or profile, hops=event.hops + 1, payload=payload, quiet=event.quiet)


def _payload(source: str, profile: str, session: str | None, sent: Mapping[str, Any], save: bool = True) -> msgspec.Raw:
    body = {"source": {"id": source}, "profile": {"id": profile}, "events": [sent], "options": {"saveEvents": save}}
    if session is not None:
        body["session"] = {"id": session}
    return msgspec.Raw(msgspec.json.encode(body))
