"""Whose event is it: every combination of what may be known, and what a batch adds to it."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.making import definitions, event, moment
from workflows.resolution import Birth, Known, identifiers_of, resolve

ONE, TWO = ("customer-id", "1"), ("e-mail", "a@b.example")
SESSION = ("shop", "s1")


def births(ages: tuple[int, ...]) -> tuple[Birth, ...]:
    """Stored profiles: the session's, the client's, and the owners of the two identifiers; lower is older."""
    return tuple(Birth(name, moment(age)) for name, age in zip("SPAB", ages, strict=True))


@pytest.mark.parametrize("session_known", [True, False], ids=["known session", "new session"])
@pytest.mark.parametrize("profile", ["stored", "new", "none"], ids=lambda value: f"{value} profile")
@pytest.mark.parametrize("owned", [0, 1, 2], ids=lambda value: f"{value} identifiers owned")
def test_an_event_goes_to_the_oldest_of_its_candidates(session_known: bool, profile: str, owned: int):
    for ages in itertools.permutations(range(4)):
        session, client, first, second = births(ages)
        owners = dict(itertools.islice({ONE: first, TWO: second}.items(), owned))
        known = Known(
            sessions={SESSION: session} if session_known else {},
            identifiers=dict(owners),
            profiles={client.id: client} if profile == "stored" else {},
        )
        sent = event(5, session="s1", profile=None if profile == "none" else client.id)

        found = resolve([(sent, [ONE, TWO])], known)

        new = Birth(client.id, sent.received_at)
        own = session if session_known else {"stored": client, "new": new, "none": None}[profile]
        candidates = sorted({own, *owners.values()} - {None}, key=lambda birth: birth.created_at)
        if not candidates:
            assert found.owners == [None]
            assert not (found.sessions or found.links or found.merges or found.new_profiles)
            continue
        owner = candidates[0].id
        assert found.owners == [owner]
        assert found.new_profiles == ({client.id: new} if own == new else {})
        assert found.sessions == ({} if session_known and session.id == owner else {SESSION: owner})
        assert found.links == {key: (owner, sent) for key in (ONE, TWO) if key not in owners}
        if len(candidates) == 1:
            assert found.merges == []
        else:
            (job,) = found.merges
            assert job.profiles[0] == owner
            assert sorted(job.profiles) == sorted(birth.id for birth in candidates)
            assert (job.cause, job.event) == ("identifier", sent.id)
            assert job.namespace in {key[0] for key, birth in owners.items() if birth != own}


def test_of_profiles_born_at_once_the_smallest_id_is_the_oldest():
    known = Known({}, {ONE: Birth("b", moment(0)), TWO: Birth("a", moment(0))}, {})
    found = resolve([(event(1), [ONE, TWO])], known)
    assert found.owners == ["a"]
    assert found.merges[0].profiles == ["a", "b"]


def test_a_visitor_who_turns_out_to_be_a_known_customer_is_the_customer_from_then_on():
    known = Known({}, {ONE: Birth("customer", moment(0))}, {})
    visit = [event(number, session="s1", profile="visitor") for number in (1, 2, 3)]
    found = resolve([(visit[0], []), (visit[1], [ONE]), (visit[2], [])], known)
    assert found.owners == ["visitor", "customer", "customer"]
    assert [job.profiles for job in found.merges] == [["customer", "visitor"]]
    assert found.merges[0].event == visit[1].id
    assert found.sessions == {SESSION: "customer"}
    assert list(found.new_profiles) == ["visitor"]


def test_within_a_batch_the_first_to_show_an_identifier_owns_it():
    events = [event(1, session="s1", profile="one"), event(2, session="s2", profile="two")]
    found = resolve([(each, [ONE]) for each in events], Known({}, {}, {}))
    assert found.owners == ["one", "one"]
    assert found.links == {ONE: ("one", events[0])}
    assert found.sessions == {("shop", "s1"): "one", ("shop", "s2"): "one"}
    assert [job.profiles for job in found.merges] == [["one", "two"]]


def test_the_same_session_id_of_two_sources_is_two_sessions():
    events = [event(1, session="s1", profile="one"), event(2, source="app", session="s1", profile="two")]
    found = resolve([(each, []) for each in events], Known({}, {}, {}))
    assert found.owners == ["one", "two"]
    assert found.merges == []


def test_events_without_a_session_have_nothing_in_common():
    events = [event(1, profile="one"), event(2, profile="two")]
    found = resolve([(each, []) for each in events], Known({}, {}, {}))
    assert found.owners == ["one", "two"]
    assert found.sessions == {}


def test_a_session_stays_whose_it_is_when_its_client_changes_its_profile_id():
    known = Known({SESSION: Birth("mine", moment(1))}, {}, {"older": Birth("older", moment(0))})
    assert resolve([(event(5, session="s1", profile="older"), [])], known).owners == ["mine"]


batches = st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 4), max_size=2)), min_size=1, max_size=12)


@given(batches, st.randoms(use_true_random=False))
def test_owners_and_merges_join_exactly_the_events_that_share_a_session_or_an_identifier(
    batch: list[tuple[int, set[int]]], shuffle: random.Random
):
    shuffle.shuffle(batch)
    events = [
        (event(number, session=f"s{session}", profile=f"p{session}"), [("ns", str(value)) for value in sorted(values)])
        for number, (session, values) in enumerate(batch)
    ]
    found = resolve(events, Known({}, {}, {}))

    joined = Groups()
    for job in found.merges:
        joined.join(*job.profiles)
    connected = Groups()
    for (session, values), _ in zip(batch, events, strict=True):
        connected.join(f"s{session}", *(f"i{value}" for value in values))
    owners = [joined.of(owner) for owner in found.owners]
    persons = [connected.of(f"s{session}") for session, _ in batch]
    assert len(set(zip(owners, persons, strict=True))) == len(set(owners)) == len(set(persons))


class Groups:
    """Sets that are joined, the slow and plain way."""

    def __init__(self) -> None:
        self._sets: list[set[str]] = []

    def join(self, *names: str) -> None:
        touched = [group for group in self._sets if group & set(names)]
        self._sets = [group for group in self._sets if group not in touched] + [set(names).union(*touched)]

    def of(self, name: str) -> frozenset[str]:
        return frozenset(next((group for group in self._sets if name in group), {name}))


POINTS = definitions(
    {"kind": "namespace", "id": "e-mail", "normalise": "lower"},
    {
        "kind": "identification-point",
        "id": "anywhere",
        "event_type": "Signed Up",
        "identifiers": [{"namespace": "e-mail", "property": "user.mail"}, {"namespace": "user", "property": "user.id"}],
    },
    {
        "kind": "identification-point",
        "id": "app-only",
        "event_type": "signed-up",
        "source": "app",
        "identifiers": [{"namespace": "device", "property": "device"}],
    },
    {
        "kind": "identification-point",
        "id": "switched-off",
        "event_type": "signed-up",
        "enabled": False,
        "identifiers": [{"namespace": "off", "property": "user.id"}],
    },
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"properties": {"user": {"mail": " A@B.example"}}}, [("e-mail", "a@b.example")]),
        ({"properties": {"user": {"id": 7, "mail": "null"}}}, [("user", "7")]),
        ({"properties": {"user": {"id": "7"}, "device": "d"}, "source": "app"}, [("user", "7"), ("device", "d")]),
        ({"properties": {"user": {"id": "7"}, "device": "d"}}, [("user", "7")]),
        ({"properties": {"user": {"id": "7"}}, "type": "page-view"}, []),
        ({"properties": {"user": "7"}}, []),
        ({}, []),
    ],
    ids=repr,
)
def test_identification_points_find_identifiers_in_the_events_they_are_for(fields: dict[str, Any], expected: list):
    assert identifiers_of(event(1, **{"type": "signed-up", **fields}), POINTS) == expected
