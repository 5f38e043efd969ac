"""A resend has the fingerprint of the first; anything else has another."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.making import raw
from workflows.fingerprint import fingerprint

bodies = st.dictionaries(st.text(max_size=2), st.integers(0, 2), max_size=2)
sessions = st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=100)


@given(bodies, sessions, bodies, sessions)
def test_fingerprints_are_equal_exactly_where_event_and_session_are(one, session, other, other_session):
    same = raw(one) == raw(other) and session == other_session
    assert (fingerprint(raw(one), session) == fingerprint(raw(other), other_session)) == same
    assert fingerprint(raw(one), session) == fingerprint(raw(one), session)


def test_long_sessions_are_told_apart_to_their_last_character():
    assert fingerprint(raw({}), "x" * 99 + "1") != fingerprint(raw({}), "x" * 99 + "2")


def test_a_fingerprint_fits_its_column():
    assert len(bytes.fromhex(fingerprint(raw({}), None))) == 16
