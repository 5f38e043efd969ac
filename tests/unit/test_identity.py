"""Profile ids of our own making, and what counts as an identifier."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import MAX_IDENTIFIER_CHARS
from workflows.identity import ProfileIds, identifier_value, value_at

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


def test_an_id_is_known_as_ours_in_whatever_way_it_is_written():
    for written in (SESSIONS, SESSIONS.upper(), SESSIONS.replace("-", "")):
        assert IDS.is_ours(written)
        assert IDS.resolve("shop", "s9", written, "e1", client_made=False) == SESSIONS


def test_no_changed_digit_of_an_id_goes_unnoticed():
    for position, digit in enumerate(SESSIONS):
        if digit != "-":
            forged = SESSIONS[:position] + f"{int(digit, 16) ^ 1:x}" + SESSIONS[position + 1 :]
            assert not IDS.is_ours(forged)


@pytest.mark.parametrize("sent", ["", "x", str(uuid4()), "0" * 32, SESSIONS[:-1], SESSIONS + "0", "é" * 32, "-" * 32])
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


def test_our_own_id_wins_over_everything_else_sent():
    assert IDS.resolve("app", "s9", SESSIONS, "e9", client_made=True) == SESSIONS


@pytest.mark.parametrize(
    "junk",
    [
        *("", "  ", "0", "-1", "null", "NULL", "nil", "None", "undefined", "NaN", "nan", "n/a", "unknown"),
        *("anonymous", "guest", "true", "false", "[object Object]", "{}", "[]", "(not set)"),
        *(0, -1, None, True, False, 1.5, [], {}, ["a"], "00000000-0000-0000-0000-000000000000"),
        *("a\nb", "a\u200bb", "x" * (MAX_IDENTIFIER_CHARS + 1)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("normalise", ["trim", "lower", "digits"])
def test_junk_identifies_nobody(junk: object, normalise: str):
    assert identifier_value(junk, normalise) is None


@pytest.mark.parametrize("junk", ["+", "++", "call me", "---", "+0", "(0)", "-", "n/a +"])
def test_a_number_without_digits_identifies_nobody(junk: str):
    assert identifier_value(junk, "digits") is None


@pytest.mark.parametrize(
    ("sent", "normalise", "value"),
    [
        (" C-17 ", "trim", "C-17"),
        (17, "trim", "17"),
        (2**53, "trim", str(2**53)),
        ("Ada@Example.ORG ", "lower", "ada@example.org"),
        ("+44 (0)20 7946-0958", "digits", "+4402079460958"),
        ("0049 30 1234", "digits", "0049301234"),
        ("00001", "trim", "00001"),
        ("x" * MAX_IDENTIFIER_CHARS, "trim", "x" * MAX_IDENTIFIER_CHARS),
    ],
)
def test_a_value_has_one_form(sent: object, normalise: str, value: str):
    assert identifier_value(sent, normalise) == value
    assert identifier_value(value, normalise) == value


def test_a_path_leads_into_objects_and_nowhere_else():
    properties = {"customer": {"id": 7, "tags": ["a"]}, "a.b": 1, "__class__": None}
    assert value_at(properties, "customer.id") == 7
    for path in ("customer.name", "customer.id.x", "customer.tags.0", "missing", "a.b", "__class__.__name__", "items"):
        assert value_at(properties, path) is None
    assert value_at(None, "customer") is None
