"""System events: what identify finds out, as events of their own, where a source asks for them. Pure."""

from collections.abc import Iterator, Mapping

import msgspec

from schemas.events import EmittedEvent, ValidEvent
from schemas.limits import MAX_HOPS
from schemas.origin import Origin, derived_id
from workflows.definitions import Definitions
from workflows.resolution import Resolution


def announced(resolution: Resolution, owners: Mapping[Origin, str], definitions: Definitions) -> Iterator[EmittedEvent]:
    """`profile-created` and `session-opened` events; `owners` has the profile of each event that came in.

    Their ids follow from whom they are about: said again, they are duplicates.
    """
    for profile, event in resolution.first_of_profiles:
        if event.origin in owners and _is_asked(event, "profile-created", definitions):
            yield _made(event, "profile-created", profile, derived_id("profile-created", profile))
    for event in resolution.first_of_sessions:
        if event.origin in owners and _is_asked(event, "session-opened", definitions):
            id = derived_id("session-opened", event.source, event.session)
            yield _made(event, "session-opened", owners[event.origin], id)


def _is_asked(event: ValidEvent, type: str, definitions: Definitions) -> bool:
    source = definitions.sources.get(event.source)
    return source is not None and type in source.system_events and event.hops < MAX_HOPS


def _made(event: ValidEvent, type: str, profile: str, id: str) -> EmittedEvent:
    sent = {"id": id, "type": type, "timestamp": event.occurred_at, "properties": {"first_event": event.id}}
    body = {"source": {"id": event.source}, "profile": {"id": profile}, "events": [sent]}
    if event.session is not None:
        body["session"] = {"id": event.session}
    payload = msgspec.Raw(msgspec.json.encode({**body, "options": {"saveEvents": event.save}}))
    return EmittedEvent(key=event.session or profile, hops=event.hops + 1, payload=payload, quiet=event.quiet)
