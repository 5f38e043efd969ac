"""Undoing a merge: whose is what, in tables."""

from typing import Any

import pytest

from workflows.identification import IdentifierKey
from workflows.parting import Division, Happened, IdentifierRow, divide

ANN, BOB, KIOSK = ("user", "ann"), ("user", "bob"), ("device", "kiosk")
#: Bob leaves Ann. Each has a session and a login of before; the kiosk was linked to Ann.
SESSIONS = {("shop", "a"): "ann", ("shop", "b"): "bob", ("shop", "new"): "ann"}
IDENTIFIERS = {
    ANN: IdentifierRow("ann", ("shop", "a1")),
    BOB: IdentifierRow("bob", ("shop", "b1")),
    KIOSK: IdentifierRow("ann", ("shop", "a2")),
}
BEFORE = [
    Happened("shop", "a1", "ann", "a", True, (ANN,), (ANN,)),
    Happened("shop", "b1", "bob", "b", True, (BOB,), (BOB,)),
    Happened("shop", "a2", "ann", "a", True, (KIOSK,)),
]


def parted(*later: Happened, **more: Any) -> Division:
    return divide({"bob"}, "ann", [*BEFORE, *later], {**SESSIONS, **more.get("sessions", {})}, IDENTIFIERS, {})


def event(session: str | None, *shown: IdentifierKey, profile: str = "ann", logins: bool = True) -> Happened:
    return Happened("shop", "later", profile, session, False, shown, tuple(key for key in shown if key[0] == "user"))


@pytest.mark.parametrize(
    ("later", "is_bobs"),
    [
        (event("a"), False),
        (event("b"), True),
        (event("b", KIOSK), True),  # the session says more than what both used
        (event("a", BOB), True),  # a login says more than the session
        (event("b", ANN), False),
        (event("b", ANN, BOB), True),  # two logins say nothing
        (event(None, BOB), True),
        (event(None, KIOSK), False),
        (event(None), False),  # nothing says anything: it stays
        (event("a", profile="bob"), True),  # it was recorded as Bob's
    ],
)
def test_a_later_event_goes_by_its_login_then_its_session_then_whatever_it_shows(later: Happened, is_bobs: bool):
    moved = [one.id for one in parted(later).events]
    assert moved == (["later"] if is_bobs and later.profile != "bob" else [])


def test_a_session_that_began_after_the_merge_is_from_its_beginning_whose_the_first_login_in_it_is():
    first, login = event("new"), event("new", BOB)
    division = parted(first, login)
    assert (len(division.events), division.sessions) == (2, [("shop", "new")])
    division = parted(first, event("new", ANN), login)
    assert (len(division.events), division.sessions) == (1, [("shop", "new")])


def test_a_session_of_which_nothing_was_recorded_before_the_merge_is_whose_it_was_then():
    """Its first event was under way; what shows who they are says more."""
    began = {"sessions": {("shop", "new"): "bob"}}
    assert len(parted(event("new"), event("new", KIOSK), **began).events) == 2
    assert len(parted(event("new"), event("new", ANN), event("new"), **began).events) == 1
    before = Happened("shop", "before", "ann", "new", True)
    assert [one.id for one in parted(before, event("new", BOB), **began).events] == ["later"]


def test_a_session_that_the_merge_made_anothers_is_its_own_ones_again():
    division = parted(event("b"), sessions={("shop", "b"): "ann"})
    assert division.sessions == [("shop", "b")]


def test_what_an_event_linked_goes_where_the_event_goes():
    phone = ("device", "phone")
    linked = Happened("shop", "b9", "ann", "b", False, (phone,))
    later = Happened("shop", "x", "ann", None, False, (phone,))
    rows = {**IDENTIFIERS, phone: IdentifierRow("ann", ("shop", "b9"))}
    division = divide({"bob"}, "ann", [*BEFORE, linked, later], SESSIONS, rows, {})
    assert ([one.id for one in division.events], division.identifiers) == (["b9", "x"], [phone])


def test_a_profile_that_joined_later_follows_whom_all_its_events_are_of():
    browser = Happened("shop", "n1", "browser", "new", False, (BOB,), (BOB,))
    assert parted(browser).profiles == {"browser"}
    assert parted(browser, Happened("shop", "n2", "browser", "a", False)).profiles == set()


def test_a_session_is_whoevers_logs_in_from_then_on():
    """Bob logs in in Ann's browser, before the merge or after it; what was Ann's there before stays hers."""
    for early, profile in ((True, "bob"), (False, "ann")):
        login = Happened("shop", "login", profile, "a", early, (BOB,), (BOB,))
        then = Happened("shop", "then", "ann", "a", False)
        division = parted(login, then)
        assert [one.id for one in division.events] == ([] if early else ["login"]) + ["then"]
        assert division.sessions == [("shop", "a")]


def test_a_value_that_a_workflow_claimed_goes_with_the_event_that_it_ran_for():
    phone = {number: IdentifierRow("ann", ("workflow", number)) for number in ("a1", "later")}
    identifiers = IDENTIFIERS | {("phone", number): row for number, row in phone.items()}
    division = divide({"bob"}, "ann", [*BEFORE, event("b", BOB)], SESSIONS, identifiers, {})
    assert division.identifiers == [("phone", "later")]
