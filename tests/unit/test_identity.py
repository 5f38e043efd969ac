"""Profile ids of our own making, and the hiding of identifiers."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.identity import ProfileIds

IDS = ProfileIds(b"a key of an installation")
OTHERS = ProfileIds(b"a key of another one....")
SESSIONS = IDS.mint("session", "shop", "s1")


def test_an_id_follows_from_what_it_is_minted_for_alone():
    again = ProfileIds(b"a key of an installation").mint("session", "shop", "s1")
    assert again == SESSIONS == str(UUID(SESSIONS))
    others = {
        IDS.mint("session", "shop", "s2"),
        IDS.mint("session", "app", "s1"),
        IDS.mint("event", "shop", "s1"),
        IDS.mint("session", "shops", "1"),
        OTHERS.mint("session", "shop", "s1"),
    }
    assert len(others) == 5
    assert SESSIONS not in others


def test_ids_stay_the_same_from_release_to_release():
    """Browsers keep them: a change here would make strangers of all known customers."""
    assert SESSIONS == "113cfc28-d0c4-ad5d-8b4b-555681df7d4e"
    customers = IDS.resolve("shop", "s1", "customer 7", "e1", client_made=True)
    assert customers == IDS.mint("client", "customer 7") == "a043dd2d-b082-c470-f8a9-246dbe4246d0"


def test_an_id_is_known_as_ours_in_whatever_way_it_is_written():
    for written in (SESSIONS, SESSIONS.upper(), SESSIONS.replace("-", "")):
        assert IDS.is_ours(written)
        assert IDS.resolve("shop", "s9", written, "e1", client_made=False) == SESSIONS


def test_no_changed_digit_of_an_id_goes_unnoticed():
    for position, digit in enumerate(SESSIONS):
        if digit != "-":
            forged = SESSIONS[:position] + f"{int(digit, 16) ^ 1:x}" + SESSIONS[position + 1 :]
            assert not IDS.is_ours(forged)


#: An id that somebody else made.
FOREIGN = "8b814848-2a03-4875-abee-9a9b4fe0a696"


@pytest.mark.parametrize("sent", ["", "x", FOREIGN, "0" * 32, SESSIONS[:-1], SESSIONS + "0", "é" * 32, "-" * 32])
def test_what_was_not_minted_here_is_not_ours(sent: str):
    assert not IDS.is_ours(sent)
    assert not IDS.is_ours(OTHERS.mint("session", "shop", "s1"))


@given(st.text(max_size=60))
def test_any_text_may_be_asked_about(sent: str):
    assert not IDS.is_ours(sent)


def test_a_forged_id_is_replaced_by_the_one_for_the_session():
    forged = SESSIONS[:-1] + ("0" if SESSIONS[-1] != "0" else "1")
    assert IDS.resolve("shop", "s1", forged, "e1", client_made=False) == SESSIONS


def test_without_an_id_the_session_decides_and_without_a_session_the_event():
    assert IDS.resolve("shop", "s1", None, "e1", client_made=False) == SESSIONS
    assert IDS.resolve("shop", "s1", None, "e2", client_made=False) == SESSIONS
    lonely = IDS.resolve("shop", None, None, "e1", client_made=False)
    assert lonely == IDS.resolve("shop", None, None, "e1", client_made=False)
    assert len({lonely, IDS.resolve("shop", None, None, "e2", client_made=False), SESSIONS}) == 3


def test_a_client_made_id_counts_only_where_the_source_allows_it():
    mapped = IDS.resolve("shop", "s1", "customer 7", "e1", client_made=True)
    assert mapped == IDS.resolve("shop", "s2", "customer 7", "e2", client_made=True) != SESSIONS
    assert IDS.is_ours(mapped)
    assert IDS.resolve("shop", "s1", "customer 7", "e1", client_made=False) == SESSIONS


@pytest.mark.parametrize("junk", ["null", "undefined", "Anonymous", "0", "[object Object]"])
def test_a_junk_client_made_id_makes_no_profile_that_strangers_share(junk: str):
    assert IDS.resolve("shop", "s1", junk, "e1", client_made=True) == SESSIONS


def test_what_is_remembered_of_one_who_sent_an_id_is_not_said_of_the_next():
    ids = ProfileIds(b"a key of an installation")
    for _ in range(2):
        assert not ids.is_ours(FOREIGN)
        for client_made, sent in ((False, FOREIGN), (False, "customer 7"), (True, "null"), (True, "customer 7")):
            by_session = [ids.resolve(shop, "s1", sent, "e1", client_made) for shop in ("shop", "app")]
            minted = [ids.mint("session", shop, "s1") for shop in ("shop", "app")]
            mapped = [ids.mint("client", "customer 7")] * 2
            assert by_session == (mapped if client_made and sent != "null" else minted)
    assert OTHERS.resolve("shop", "s1", SESSIONS, "e1", client_made=False) == OTHERS.mint("session", "shop", "s1")


def test_our_own_id_wins_over_everything_else_sent():
    assert IDS.resolve("app", "s9", SESSIONS, "e9", client_made=True) == SESSIONS


def test_a_hidden_identifier_is_the_same_whenever_and_says_nothing_about_the_value():
    hidden = IDS.hide("email", "ada@example.org")
    assert hidden == ProfileIds(b"a key of an installation").hide("email", "ada@example.org")
    assert len({hidden, IDS.hide("phone", "ada@example.org"), OTHERS.hide("email", "ada@example.org")}) == 3
    assert len(hidden) == 32
    assert "ada" not in hidden
