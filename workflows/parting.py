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
    """An identifier as it is stored: under which profile, and the event (source, id) that linked it. The source of what
    a workflow claimed is `workflow`."""

    profile: str
    linked_by: tuple[str, str]


class Division(msgspec.Struct):
    """What goes to the one who is taken out; all else stays."""

    events: list[Happened]
    sessions: list[SessionKey]
    identifiers: list[IdentifierKey]
    #: Profiles that became part of the survivor later, and all of whose events go; of those that have none, the event
    #: that joined them.
    profiles: set[str]


def divide(
    leaving: Collection[str],
    stayed: str,
    events: Iterable[Happened],
    sessions: Mapping[SessionKey, str],
    identifiers: Mapping[IdentifierKey, IdentifierRow],
    joined_by: Mapping[str, str],
) -> Division:
    """What of a merged person is the one's who leaves: the profiles `leaving`, which became part of `stayed`, or of
    who became part of it.

    `events`, in the order in which they were received, sessions (and their profiles), identifiers and the ids of the
    events that made profiles part of others (`joined_by`) are those of everybody concerned.
    """
    events = list(events)
    divider = _Divider(frozenset(leaving), identifiers, {key for key, owner in sessions.items() if owner in leaving})
    for event in events:
        divider.learn(event)
    sides = divider.sides(events)
    moved = [event for event, is_leavers in sides if is_leavers and event.profile not in leaving]
    return Division(
        moved,
        sorted(key for key, profile in sessions.items() if profile not in leaving and divider.of_session.get(key)),
        sorted(key for key, row in identifiers.items() if row.profile not in leaving and divider.of_key.get(key)),
        _followers(sides, joined_by) - {stayed, *leaving},
    )


def _followers(sides: Collection[tuple[Happened, bool]], joined_by: Mapping[str, str]) -> set[str]:
    going = [event for event, is_leavers in sides if is_leavers]
    staying = [event for event, is_leavers in sides if not is_leavers]
    ids = {event.id for event in going} - {event.id for event in staying}  # they are unique within a source only
    joined = {profile for profile, id in joined_by.items() if id in ids}
    return ({event.profile for event in going} | joined) - {event.profile for event in staying}


class _Divider:
    """True: the leaver's; False: the others'."""

    def __init__(
        self,
        leaving: frozenset[str],
        identifiers: Mapping[IdentifierKey, IdentifierRow],
        theirs: Collection[SessionKey],
    ) -> None:
        """`theirs`: the sessions that were the leaver's when they were merged."""
        self._leaving, self._identifiers, self._theirs = leaving, identifiers, theirs
        self.of_key = {key: True for key, row in identifiers.items() if row.profile in leaving}
        self._claimed_by: dict[str, list[IdentifierKey]] = {}
        for key, row in identifiers.items():
            if row.linked_by[0] == "workflow":
                self._claimed_by.setdefault(row.linked_by[1], []).append(key)
        #: Whose a session is, as events go on: the first one's that says so, then whoever's logs in. What led to the
        #: merge was recorded under the survivor, and says nothing. Where no event does, because the first one was under
        #: way at the merge, it is whose it was then.
        self.of_session: dict[SessionKey, bool] = {}
        self._at_first: dict[SessionKey, bool] = {}

    def learn(self, event: Happened) -> None:
        """Whose the identifiers are that it linked, and whose its session is."""
        mine = self._follow(event)
        linked = [
            key
            for key in event.shown
            if (row := self._identifiers.get(key)) and row.linked_by == (event.source, event.id)
        ]
        for key in (*linked, *self._claimed_by.get(event.id, ())):
            self.of_key.setdefault(key, mine)

    def sides(self, events: Iterable[Happened]) -> list[tuple[Happened, bool]]:
        """All events once more, now that everything is learned, each with whose it is."""
        self.of_session = dict(self._at_first)
        return [(event, self._follow(event)) for event in events]

    def _follow(self, event: Happened) -> bool:
        mine, said = self._is_leavers(event), self._said(event.logins)
        if event.session is not None:
            session = event.source, event.session
            says = event.early or event.shown or event.profile in self._leaving or session in self._theirs
            if session not in self.of_session and says:
                self.of_session[session] = mine
                self._at_first.setdefault(session, mine)
            elif said is not None:
                self.of_session[session] = said
        return mine

    def _is_leavers(self, event: Happened) -> bool:
        if event.profile in self._leaving:
            return True
        session = event.source, event.session or ""
        said = (
            self._said(event.logins),
            self.of_session.get(session),
            True if session in self._theirs and not event.early else None,
            self._said(event.shown),
        )
        return next((one for one in said if one is not None), False)

    def _said(self, keys: Collection[IdentifierKey]) -> bool | None:
        """Whose these all are; None where nothing, or both, is said."""
        said = {self.of_key[key] for key in keys if key in self.of_key}
        return said.pop() if len(said) == 1 else None
