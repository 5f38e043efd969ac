"""What identity resolution says of a batch: whose events they are, and what is to be written."""

from datetime import timedelta

import msgspec

from schemas.events import ValidEvent
from schemas.profiles import MergeJob
from workflows.identification import IdentifierKey
from workflows.known import Birth, SessionKey, Sighting, Visit


class Link(msgspec.Struct, frozen=True):
    """An identifier that is new, whose it is now, and the event that showed it."""

    profile: str
    event: ValidEvent
    seen: Sighting
    #: A person has one value in its namespace.
    sole: bool = False


class Refused(msgspec.Struct, frozen=True):
    """An identifier that was not linked: its person has as many as a person may have, or another where one is all."""

    key: IdentifierKey
    profile: str
    event: ValidEvent
    reason: str = "too_many_identifiers"


class Resolution(msgspec.Struct):
    """What to write: whose each event is, profiles to create, sessions and identifiers to link, merges to ask for."""

    owners: list[str | None]
    #: The events as the people they are of let them be; None for those that may not come in.
    events: list[ValidEvent | None]
    new_profiles: dict[str, Birth]
    sessions: dict[SessionKey, str]
    #: Profiles whose a session, and with it a visit, is no more; whether a replay without outbound effects took it.
    visited_less: dict[str, bool]
    #: Sessions, stored or new, of whose visit something is new.
    visits: dict[SessionKey, Visit]
    #: New sessions of sources that want to know when their visit is over, and after how long to look whether it is.
    timers: dict[SessionKey, timedelta]
    links: dict[IdentifierKey, Link]
    #: Stored identifiers that were seen earlier or later than was known, or verified now.
    seen: dict[IdentifierKey, Sighting]
    #: Events that were the first of a profile, or of a session.
    first_of_profiles: list[tuple[str, ValidEvent]]
    first_of_sessions: list[ValidEvent]
    merges: list[MergeJob]
    #: (one, other): profiles that a merge job asks to make one.
    joins: list[tuple[str, str]]
    refused: list[Refused]
