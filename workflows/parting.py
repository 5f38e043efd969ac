"""Undoing a merge: which of the events, sessions and identifiers of two that were taken for one are whose.

Pure. What was recorded or linked before the merge is its own profile's. Later events go by who they say they are (a
login), else by their session, else by whatever else they show; what nothing tells apart stays with the survivor.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from workflows.identification import IdentifierKey
from workflows.known import SessionKey


class Happened(msgspec.Struct, frozen=True):
    """A recorded event: under which profile, before the merge or not, and what it shows; with `logins`, those that say
    who somebody is."""

    source: str
    id: str
    profile: str
    session: str | None
    early: bool = False
    shown: tuple[IdentifierKey, ...] = ()
    logins: tuple[IdentifierKey, ...] = ()


class IdentifierRow(msgspec.Struct, frozen=True):
    """An identifier as it is stored: under which profile, and the event (source, id) that linked it."""

    profile: str
    linked_by: tuple[str, str]


class Division(msgspec.Struct):
    """What goes to the one who is taken out; all else stays."""

    events: list[Happened]
    sessions: list[SessionKey]
    identifiers: list[IdentifierKey]
    #: Profiles that became part of the survivor later, and all of whose events go.
    profiles: set[str]


def divide(
    leaving: Collection[str],
    stayed: str,
    events: Iterable[Happened],
    sessions: Mapping[SessionKey, str],
    identifiers: Mapping[IdentifierKey, IdentifierRow],
) -> Division:
    """What of a merged person is the one's who leaves: the profiles `leaving`, which became part of `stayed`, or of
    who became part of it.

    `events`, in the order in which they were received, sessions (and their profiles) and identifiers are those of
    everybody concerned.
    """
    events = list(events)
    divider = _Divider(frozenset(leaving), events, sessions, identifiers)
    for event in events:
        divider.learn(event)
    gone = divider.leaves
    moved = [event for event in events if event.profile not in gone and divider.is_leavers(event)]
    staying = {event.profile for event in events if not divider.is_leavers(event)}
    return Division(
        moved,
        sorted(key for key, profile in sessions.items() if profile not in gone and divider.of_session.get(key)),
        sorted(key for key, row in identifiers.items() if row.profile not in gone and divider.of_key.get(key)),
        {event.profile for event in moved} - staying - {stayed},
    )


class _Divider:
    def __init__(
        self,
        leaving: frozenset[str],
        events: Iterable[Happened],
        sessions: Mapping[SessionKey, str],
        identifiers: Mapping[IdentifierKey, IdentifierRow],
    ) -> None:
        self.leaves, self._identifiers = leaving, identifiers
        #: True: the leaver's, False: the others'; absent: not known yet. A session of before the merge is whose its
        #: events then were: the one that led to the merge may have made it another's.
        self.of_session = {key: True for key, profile in sessions.items() if profile in leaving}
        for event in events:
            if event.early or event.profile in leaving:
                key = event.source, event.session or ""
                self.of_session[key] = self.of_session.get(key, False) or event.profile in leaving
        self.of_key = {key: True for key, row in identifiers.items() if row.profile in leaving}
        self._sessions = sessions

    def learn(self, event: Happened) -> None:
        """An event says whose the identifiers are that it linked, and the session that it is the first to name."""
        if not event.shown:
            return
        mine = self.is_leavers(event)
        for key in event.shown:
            row = self._identifiers.get(key)
            if row is not None and row.linked_by == (event.source, event.id):
                self.of_key.setdefault(key, mine)
        if event.session is not None and (event.source, event.session) in self._sessions:
            self.of_session.setdefault((event.source, event.session), mine)

    def is_leavers(self, event: Happened) -> bool:
        if event.profile in self.leaves:
            return True
        said = (
            self._said(event.logins),
            self.of_session.get((event.source, event.session or "")),
            self._said(event.shown),
        )
        return next((one for one in said if one is not None), False)

    def _said(self, keys: Collection[IdentifierKey]) -> bool | None:
        """Whose these all are; None where nothing, or both, is said."""
        said = {self.of_key[key] for key in keys if key in self.of_key}
        return said.pop() if len(said) == 1 else None
