"""Whose event is it: every combination of what may be known, and what a batch adds to it."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.making import definitions, event, moment
from workflows import resolving
from workflows.identification import IdentifierKey, Shown
from workflows.known import Birth, Known, Sighting, Stored, Visit
from workflows.resolution import Resolution

ONE, TWO = ("customer-id", "1"), ("e-mail", "a@b.example")
SESSION = ("shop", "s1")


HOUR = moment(0)
NOTHING = definitions()


def mint(*what: str) -> str:
    return "minted:" + "/".join(what)


def stored(owner: Birth, **seen: Any) -> Stored:
    return Stored(owner, Sighting(**{"first": moment(0), "last": HOUR, **seen}))


def resolve(events: list[tuple[Any, list[IdentifierKey]]], known: Known, rules: Any = NOTHING) -> Resolution:
    return resolving.resolve([(event, [Shown(key) for key in keys]) for event, keys in events], known, rules, mint)


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
            identifiers={key: stored(owner) for key, owner in owners.items()},
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
        assert {key: (link.profile, link.event) for key, link in found.links.items()} == {
            key: (owner, sent) for key in (ONE, TWO) if key not in owners
        }
        assert [job.profiles for job in found.merges] == [[owner, id] for id in sorted(b.id for b in candidates[1:])]
        for job in found.merges:
            assert (job.cause, job.event) == ("identifier", sent.id)
            ties = {key[0] for key, birth in owners.items() if birth != own and birth.id in job.profiles}
            assert job.namespace in ties


def test_of_profiles_born_at_once_the_smallest_id_is_the_oldest():
    known = Known({}, {ONE: stored(Birth("b", moment(0))), TWO: stored(Birth("a", moment(0)))}, {})
    found = resolve([(event(1), [ONE, TWO])], known)
    assert found.owners == ["a"]
    assert found.merges[0].profiles == ["a", "b"]


def test_a_visitor_who_turns_out_to_be_a_known_customer_is_the_customer_from_then_on():
    known = Known({}, {ONE: stored(Birth("customer", moment(0)))}, {})
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
    assert {key: (link.profile, link.event) for key, link in found.links.items()} == {ONE: ("one", events[0])}
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


RULES = definitions(
    {"kind": "namespace", "id": "customer-id", "unique": True},
    {"kind": "namespace", "id": "passport", "unique": True},
    {"kind": "namespace", "id": "device", "max_per_profile": 2},
    {"kind": "identity-guards", "id": "guards", "max_identifiers": 4},
)
TEN, ELEVEN, MAIL = ("customer-id", "10"), ("customer-id", "11"), ("e-mail", "a@b.example")


def person(id: str, age: float, *keys: IdentifierKey) -> tuple[Birth, dict[str, dict[str, set[str]]]]:
    values: dict[str, set[str]] = {}
    for namespace, value in keys:
        values.setdefault(namespace, set()).add(value)
    return Birth(id, moment(age)), {id: values}


def test_whoever_logs_in_as_somebody_else_is_somebody_else_from_then_on():
    ten, values = person("ten", 0, TEN)
    known = Known({SESSION: ten}, {TEN: stored(ten)}, {}, values)
    visit = [event(number, session="s1", profile="browser") for number in (1, 2, 3)]
    found = resolve([(visit[0], []), (visit[1], [ELEVEN]), (visit[2], [])], known, RULES)
    other = "minted:customer-id/11"
    assert found.owners == ["ten", other, other]
    assert (list(found.new_profiles), found.sessions) == ([other], {SESSION: other})
    assert {key: link.profile for key, link in found.links.items()} == {ELEVEN: other}
    # merge refuses this one, and keeps it for people to see.
    assert [(job.profiles, job.namespace) for job in found.merges] == [([other, "ten"], "customer-id")]


def test_whoever_logs_in_as_somebody_known_is_that_one_though_the_browser_is_anothers():
    ten, ten_has = person("ten", 0, TEN)
    eleven, eleven_has = person("eleven", 5, ELEVEN)
    known = Known({SESSION: ten}, {TEN: stored(ten), ELEVEN: stored(eleven)}, {}, ten_has | eleven_has)
    found = resolve([(event(9, session="s1"), [ELEVEN])], known, RULES)
    assert (found.owners, found.sessions) == (["eleven"], {SESSION: "eleven"})
    assert [job.profiles for job in found.merges] == [["eleven", "ten"]]


def test_an_email_that_two_share_leads_to_the_one_whom_the_number_names():
    ten, values = person("ten", 0, TEN, MAIL)
    known = Known({}, {TEN: stored(ten), MAIL: stored(ten)}, {}, values)
    found = resolve([(event(9, session="s1", profile="new"), [ELEVEN, MAIL])], known, RULES)
    assert found.owners == ["new"]
    assert {key: link.profile for key, link in found.links.items()} == {ELEVEN: "new"}
    assert [(job.profiles, job.namespace) for job in found.merges] == [(["new", "ten"], "e-mail")]


def test_a_person_of_two_contradicting_numbers_is_neither_of_the_known():
    ten, ten_has = person("ten", 0, TEN, ("passport", "a"))
    eleven, eleven_has = person("eleven", 1, ELEVEN, ("passport", "b"))
    known = Known({}, {TEN: stored(ten), ("passport", "b"): stored(eleven)}, {}, ten_has | eleven_has)
    found = resolve([(event(9), [TEN, ("passport", "b")])], known, RULES)
    assert found.owners == ["minted:customer-id/10/passport/b"]
    assert found.links == {}
    assert [sorted(job.profiles)[0] for job in found.merges] == ["eleven", "minted:customer-id/10/passport/b"]


def test_within_a_batch_a_number_shown_first_rules_out_another_shown_later():
    batch = [(event(1, session="s1", profile="p"), [TEN]), (event(2, session="s1", profile="p"), [ELEVEN])]
    assert resolve(batch, Known({}, {}, {}), RULES).owners == ["p", "minted:customer-id/11"]


def test_no_person_gets_more_identifiers_than_the_guards_allow():
    devices = [("device", str(number)) for number in range(3)]
    found = resolve([(event(1, profile="p"), devices)], Known({}, {}, {}), RULES)
    assert list(found.links) == devices[:2]
    assert [(one.key, one.profile, one.reason) for one in found.refused] == [(devices[2], "p", "too_many_identifiers")]
    anything = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]
    assert list(resolve([(event(1, profile="p"), anything)], Known({}, {}, {}), RULES).links) == anything[:4]
    mine, values = person("p", 0, *anything[:3])
    known = Known({SESSION: mine}, {key: stored(mine) for key in anything[:3]}, {}, values)
    assert list(resolve([(event(1, session="s1"), anything)], known, RULES).links) == anything[3:4]


@given(st.permutations([(0.0, False), (1800.0, True), (3700.0, False), (90000.0, False)]))
def test_sightings_add_up_to_the_same_in_whatever_order_they_come(sightings: list[tuple[float, bool]]):
    known = Known({}, {}, {})
    found = [
        (event(number, received_at=moment(at), profile="p"), [Shown(ONE, verified)])
        for number, (at, verified) in enumerate(sightings)
    ]
    link = resolving.resolve(found, known, NOTHING, mint).links[ONE]
    assert link.seen == Sighting(moment(0), moment(90000), True)
    mine = Birth("p", moment(0))
    seen = Sighting(moment(1000), moment(0), False)
    again = resolving.resolve(found, Known({}, {ONE: Stored(mine, seen)}, {"p": mine}), NOTHING, mint)
    assert (again.links, again.seen) == ({}, {ONE: link.seen})


def test_an_identifier_that_is_seen_within_the_hour_again_is_not_written():
    mine = Birth("p", moment(0))
    known = Known({}, {ONE: Stored(mine, Sighting(moment(0), moment(0), True))}, {"p": mine})
    assert resolve([(event(60, profile="p"), [ONE])], known).seen == {}


@pytest.mark.parametrize("stored_verified", [True, False])
@pytest.mark.parametrize("shown_verified", [True, False])
def test_a_tie_is_verified_where_both_ends_were(stored_verified: bool, shown_verified: bool):
    known = Known({}, {ONE: stored(Birth("old", moment(0)), verified=stored_verified)}, {})
    found = resolving.resolve([(event(1, profile="new"), [Shown(ONE, shown_verified)])], known, NOTHING, mint)
    assert [job.verified for job in found.merges] == [stored_verified and shown_verified]


def test_the_profiles_that_the_guards_ask_about_are_those_that_an_event_may_tie_or_contradict():
    a, b = Birth("a", moment(0)), Birth("b", moment(1))
    known = Known({SESSION: a}, {ONE: stored(a), TWO: stored(b)}, {"c": Birth("c", moment(2))})
    s1, lonely = event(1, session="s1"), event(2, profile="c")
    for shown, profiles in (
        ([(s1, [])], set()),
        ([(s1, [ONE])], set()),
        ([(s1, [ONE, TWO])], {"a", "b"}),
        ([(s1, [("new", "1")])], {"a"}),
        ([(lonely, [TWO])], {"b", "c"}),
        ([(event(3), [("new", "1")])], set()),
    ):
        found = [(each, [Shown(key) for key in keys]) for each, keys in shown]
        assert resolving.questioned(found, known) == profiles


@given(
    st.permutations([(0, "view"), (61, "view"), (90, "view"), (4000, "visit-ended"), (5000, "view")]), st.integers(0, 5)
)
def test_a_visit_adds_up_to_the_same_in_whatever_order_and_batches_its_events_come(
    events: list[tuple[int, str]], cut: int
):
    known = Known({}, {}, {})
    for batch in (events[:cut], events[cut:]):
        sent = [event(n, session="s1", profile="p", occurred_at=moment(n), type=type) for n, type in batch]
        found = resolve([(one, []) for one in sent], known)
        known = Known({SESSION: Birth("p", moment(0))}, {}, {}, {}, known.visits | found.visits)
    assert known.visits[SESSION] == Visit(moment(0), moment(4980), moment(4000))


def test_a_session_that_goes_on_within_the_minute_is_not_written():
    mine = Birth("p", moment(0))
    known = Known({SESSION: mine}, {}, {}, {}, {SESSION: Visit(moment(0), moment(60))})
    assert resolve([(event(90, session="s1"), [])], known).visits == {}
    assert list(resolve([(event(121, session="s1"), [])], known).visits) == [SESSION]


def test_somebody_whom_an_event_rules_out_is_not_merged_into_an_owner_of_whom_nothing_is_known():
    x, x_has = person("x", 0, TEN, ("passport", "x"))
    y, y_has = person("y", 1, ("customer-id", "7"), ("passport", "y"))
    known = Known({}, {TEN: stored(x), ("passport", "y"): stored(y)}, {}, x_has | y_has)
    found = resolve([(event(9, session="s1", profile="fresh"), [TEN, ("passport", "y")])], known, RULES)
    assert found.owners == ["fresh"]
    assert [(job.profiles, job.contradicted) for job in found.merges] == [
        (["fresh", "x"], "passport"),
        (["fresh", "y"], "customer-id"),
    ]


def test_merge_is_told_once_a_batch_that_two_are_not_one():
    """Somebody in another's browser asked with each event: a thousand jobs that merge says no to."""
    x, x_has = person("x", 0, TEN, ("passport", "x"))
    y, y_has = person("y", 1, ("customer-id", "7"), ("passport", "y"))
    known = Known({}, {TEN: stored(x), ("passport", "y"): stored(y)}, {}, x_has | y_has)
    shown = [TEN, ("passport", "y")]
    found = resolve([(event(at, session="s1", profile="fresh"), shown) for at in (9, 10, 11)], known, RULES)
    assert [job.profiles for job in found.merges] == [["fresh", "x"], ["fresh", "y"]]


@pytest.mark.parametrize(("quiet", "told"), [((True, True), True), ((True, False), False)])
def test_that_somebody_loses_visits_is_quiet_where_a_replay_alone_took_them(quiet: tuple[bool, bool], told: bool):
    x, x_has = person("x", 0, TEN)
    known = Known({(SESSION[0], one): x for one in ("s1", "s2")}, {TEN: stored(x)}, {}, x_has)
    other = [(event(9 + n, session=f"s{n + 1}", quiet=one), [ELEVEN]) for n, one in enumerate(quiet)]
    assert resolve(other, known, RULES).visited_less == {"x": told}


def test_of_two_numbers_that_one_event_shows_the_first_counts_and_the_other_is_reported():
    found = resolve([(event(1, profile="p"), [TEN, ELEVEN, MAIL])], Known({}, {}, {}), RULES)
    assert list(found.links) == [TEN, MAIL]
    assert [(one.key, one.profile, one.reason) for one in found.refused] == [(ELEVEN, "p", "unique")]


STRONG = definitions(
    {"kind": "namespace", "id": "customer-id", "unique": True}, {"kind": "namespace", "id": "card", "unique": True}
)


def test_what_ties_one_to_the_owner_speaks_for_no_other():
    """The strong card ties the session to `card`; the weak e-mail alone ties it to `mail`."""
    own, card, mail = (Birth(id, moment(age)) for age, id in enumerate(("own", "card", "mail")))
    known = Known({SESSION: own}, {("card", "7"): stored(card), MAIL: stored(mail)}, {}, {})
    found = resolve([(event(9, session="s1"), [("card", "7"), MAIL])], known, STRONG)
    assert {job.profiles[1]: job.namespace for job in found.merges} == {"card": "card", "mail": "e-mail"}
    # Neither is the session's: the weaker of the two ties is what holds them together.
    known = Known({}, {("card", "7"): stored(card), MAIL: stored(mail)}, {}, {})
    found = resolve([(event(9), [("card", "7"), MAIL])], known, STRONG)
    assert [(job.profiles, job.namespace) for job in found.merges] == [(["card", "mail"], "e-mail")]


def test_until_merge_has_answered_who_comes_as_one_of_two_has_the_numbers_of_both():
    """The browser is older than the customer 10 who logs in there: it stays the owner. Whoever logs in as 11 next is
    another all the same, though the browser itself has no number yet."""
    browser, ten = Birth("browser", moment(0)), Birth("ten", moment(1))
    known = Known({SESSION: browser}, {TEN: stored(ten)}, {}, {"ten": {"customer-id": {"10"}}})
    visit = [event(number, session="s1") for number in (2, 3)]
    found = resolve([(visit[0], [TEN]), (visit[1], [ELEVEN])], known, RULES)
    assert found.owners == ["browser", "minted:customer-id/11"]
    assert found.joins == [("browser", "ten")]
    assert [job.contradicted for job in found.merges] == ["", "customer-id"]


def test_whom_merge_will_not_join_are_two_meanwhile_in_whatever_batches_they_come():
    """Ann and Bob, each with a customer number, share a kiosk. Bob logs in in Ann's browser: that is Bob."""
    ann, bob, kiosk = Birth("ann", moment(0)), Birth("bob", moment(1)), ("kiosk", "k")
    batch = [
        (event(2, session="ann's"), [kiosk]),
        (event(3, session="bob's"), [kiosk]),
        (event(4, session="ann's"), [ELEVEN]),
    ]
    known = Known(
        {("shop", "ann's"): ann, ("shop", "bob's"): bob},
        {TEN: stored(ann), ELEVEN: stored(bob)},
        {},
        {"ann": {"customer-id": {"10"}}, "bob": {"customer-id": {"11"}}},
    )
    found = resolve(batch, known, RULES)
    assert found.owners[2] == "bob"
    assert (found.joins, found.sessions[("shop", "ann's")]) == ([], "bob")
    assert [sorted(job.profiles) for job in found.merges] == [["ann", "bob"], ["ann", "bob"]]
