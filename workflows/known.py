"""What is stored about the people of a batch: their profiles, sessions and identifiers, and when those were seen."""

from datetime import datetime

import msgspec

from workflows.identification import IdentifierKey

#: (source, session id): session ids are scoped by source.
SessionKey = tuple[str, str]


class Birth(msgspec.Struct, frozen=True):
    """A live profile and when it was created."""

    id: str
    created_at: datetime

    @property
    def seniority(self) -> tuple[datetime, str]:
        return self.created_at, self.id


class Sighting(msgspec.Struct, frozen=True):
    """When an identifier was first seen, and last (the hour), and whether it was ever verified."""

    first: datetime
    last: datetime
    verified: bool = False

    def also(self, other: "Sighting") -> "Sighting":
        """Both. In whatever order sightings come, they add up to the same."""
        return Sighting(min(self.first, other.first), max(self.last, other.last), self.verified or other.verified)


class Visit(msgspec.Struct, frozen=True):
    """When a session began, when it was last heard of (to the minute), and when its visit was said to be over."""

    started: datetime
    last: datetime
    ended: datetime | None = None

    def also(self, other: "Visit") -> "Visit":
        """Both. In whatever order events come, they add up to the same."""
        ends = [end for end in (self.ended, other.ended) if end is not None]
        return Visit(min(self.started, other.started), max(self.last, other.last), max(ends, default=None))


class Stored(msgspec.Struct, frozen=True):
    """An identifier as it is stored: whose it is now, and when it was seen."""

    owner: Birth
    seen: Sighting


class Known(msgspec.Struct):
    """What is stored about a batch, pointers already followed: everything maps to live profiles."""

    sessions: dict[SessionKey, Birth]
    identifiers: dict[IdentifierKey, Stored]
    profiles: dict[str, Birth]
    #: Live profile to its identifiers' values by namespace, of those that `questioned` names.
    values: dict[str, dict[str, set[str]]] = {}
    #: The visits of the sessions that are stored.
    visits: dict[SessionKey, Visit] = {}
    #: Live profile to those from which an operator has parted it, of those that `questioned` names.
    apart: dict[str, set[str]] = {}
    #: Profiles that are not stored, of events that have not come in yet.
    new: dict[str, Birth] = {}

    def everybody(self) -> set[str]:
        """All live profiles that are known."""
        owners = (stored.owner for stored in self.identifiers.values())
        return {birth.id for birth in (*self.sessions.values(), *self.profiles.values(), *owners)}
