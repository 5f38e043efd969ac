"""Identity resolution of a batch: from sessions, client ids and identifiers to profiles, links and merge requests.

Pure. identify reads what PostgreSQL knows about the batch, asks here, and writes what this says.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from schemas.events import ValidEvent
from schemas.profiles import MergeJob
from workflows.definitions import Definitions
from workflows.identity import identifier_value, value_at

#: (namespace, value), normalised.
IdentifierKey = tuple[str, str]
#: (source, session id): session ids are scoped by source.
SessionKey = tuple[str, str]


class Birth(msgspec.Struct, frozen=True):
    """A live profile and when it was created."""

    id: str
    created_at: datetime

    @property
    def seniority(self) -> tuple[datetime, str]:
        return self.created_at, self.id


class Known(msgspec.Struct):
    """What is stored about a batch, pointers already followed: everything maps to live profiles."""

    sessions: dict[SessionKey, Birth]
    identifiers: dict[IdentifierKey, Birth]
    profiles: dict[str, Birth]


class Resolution(msgspec.Struct):
    """What to write: whose each event is, profiles to create, sessions and identifiers to link, merges to ask for."""

    owners: list[str | None]
    new_profiles: dict[str, Birth]
    sessions: dict[SessionKey, str]
    links: dict[IdentifierKey, tuple[str, ValidEvent]]
    merges: list[MergeJob]


def identifiers_of(event: ValidEvent, definitions: Definitions) -> list[IdentifierKey]:
    """The identifiers that identification points find in the event; junk never is one."""
    points = definitions.points.get(event.type)
    if not points:
        return []
    properties = msgspec.json.decode(event.properties)
    found: dict[IdentifierKey, None] = {}
    for point in points:
        if point.source not in (None, event.source):
            continue
        for identifier in point.identifiers:
            namespace = definitions.namespace(identifier.namespace)
            value = identifier_value(value_at(properties, identifier.path), namespace.normalise)
            if value is not None:
                found[identifier.namespace, value] = None
    return list(found)


def resolve(events: Iterable[tuple[ValidEvent, list[IdentifierKey]]], known: Known) -> Resolution:
    """Say whose each event is, in order, each seeing what the ones before it led to.

    Candidates: the session's profile, else the one the door named; and the owners of the event's identifiers. The
    event goes to the oldest of them; where there is more than one, a merge job says why.
    """
    resolution = Resolution([], {}, {}, {}, [])
    for event, identifiers in events:
        resolution.owners.append(_resolve_one(event, identifiers, known, resolution))
    return resolution


def _resolve_one(
    event: ValidEvent, identifiers: list[IdentifierKey], known: Known, resolution: Resolution
) -> str | None:
    session = (event.source, event.session) if event.session else None
    own = known.sessions.get(session) if session else None
    if own is None and event.profile:
        # Created even where the identifiers already have an owner: the client keeps this id and will come back with it.
        own = known.profiles.get(event.profile)
        if own is None:
            own = known.profiles[event.profile] = Birth(event.profile, event.received_at)
            resolution.new_profiles[own.id] = own
    owners = {key: known.identifiers[key] for key in identifiers if key in known.identifiers}
    if own is None and not owners:
        return None
    candidates = {birth.id: birth for birth in ([own] if own else []) + list(owners.values())}
    owner = min(candidates.values(), key=lambda birth: birth.seniority)
    _remember(event, session, identifiers, owner, known, resolution)
    if len(candidates) > 1:
        others = sorted(candidates.keys() - {owner.id})
        namespace = next(key[0] for key, birth in owners.items() if own is None or birth.id != own.id)
        resolution.merges.append(
            MergeJob(
                profiles=[owner.id, *others], cause="identifier", namespace=namespace, event=event.id, quiet=event.quiet
            )
        )
    return owner.id


def _remember(
    event: ValidEvent,
    session: SessionKey | None,
    identifiers: list[IdentifierKey],
    owner: Birth,
    known: Known,
    resolution: Resolution,
) -> None:
    if session and known.sessions.get(session) != owner:
        known.sessions[session] = owner
        resolution.sessions[session] = owner.id
    for key in identifiers:
        if key not in known.identifiers:
            known.identifiers[key] = owner
            resolution.links[key] = (owner.id, event)
