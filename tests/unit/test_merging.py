"""Which profiles become one, against plain sets; and what a person may have only one of."""

import random
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.profiles import MergeJob
from tests.unit.making import definitions, moment
from workflows import merging
from workflows.definitions import Definitions
from workflows.merging import Candidate, Decision

IDS = [f"p{number}" for number in range(8)]


PLAIN = definitions({"kind": "namespace", "id": "customer", "unique": True})


def decide(jobs: list[MergeJob], roots: dict[str, Candidate], known: Definitions = PLAIN) -> list[Decision]:
    return merging.decide(jobs, roots, known)


def job(*profiles: str, event: str = "e") -> MergeJob:
    return MergeJob(profiles=list(profiles), cause="identifier", namespace="ns", event=event)


def candidates(**values: str) -> dict[str, Candidate]:
    """p0 is the oldest, then p1, ... each with the value given for it in the unique namespace `customer`."""
    return {
        id: Candidate(id, moment(number), frozenset({("customer", values[id])} if id in values else ()))
        for number, id in enumerate(IDS)
    }


def survivors(decisions: list[Decision], ids: list[str] = IDS) -> dict[str, str]:
    """Whom each profile is part of in the end."""
    now = {id: id for id in ids}
    for decision in decisions:
        if decision.conflict is None:
            now = {id: decision.survivor if root in decision.absorbed else root for id, root in now.items()}
    return now


def groups_of(now: dict[str, str]) -> list[set[str]]:
    return [{id for id in now if now[id] == root} for root in set(now.values())]


def test_the_oldest_survives_and_among_the_equally_old_the_smallest_id():
    (decision,) = decide([job("p3", "p1", "p2")], candidates())
    assert (decision.survivor, decision.absorbed) == ("p1", ("p2", "p3"))
    same: datetime = moment(0)
    (decision,) = decide([job("b", "a")], {id: Candidate(id, same) for id in "ab"})
    assert decision.survivor == "a"


def test_a_chain_of_jobs_in_one_batch_ends_in_one_survivor():
    decisions = decide([job("p3", "p4"), job("p2", "p3"), job("p1", "p4")], candidates())
    assert [decision.survivor for decision in decisions] == ["p3", "p2", "p1"]
    now = survivors(decisions)
    assert {now[id] for id in ("p1", "p2", "p3", "p4")} == {"p1"}


def test_profiles_that_are_one_already_lead_to_nothing():
    assert decide([job("p1", "p1"), job("p1")], candidates()) == []
    assert len(decide([job("p1", "p2"), job("p2", "p1"), job("p1", "p2")], candidates())) == 1
    merged = {**candidates(), "p2": candidates()["p1"]}
    assert decide([job("p1", "p2")], merged) == []


def test_a_merged_profile_stands_for_its_survivor():
    merged = {**candidates(), "p5": candidates()["p1"]}
    (decision,) = decide([job("p5", "p3")], merged)
    assert (decision.survivor, decision.absorbed) == ("p1", ("p3",))


def test_a_profile_that_is_not_stored_is_passed_over():
    assert decide([job("p1", "unheard-of")], candidates()) == []
    assert survivors(decide([job("p1", "unheard-of", "p2")], candidates()))["p2"] == "p1"


def test_different_values_in_a_unique_namespace_keep_profiles_apart_and_say_so():
    (decision,) = decide([job("p1", "p2")], candidates(p1="7", p2="8"))
    assert (decision.conflict, decision.namespace) == ("unique", "customer")
    assert {decision.survivor, *decision.absorbed} == {"p1", "p2"}
    (decision,) = decide([job("p1", "p2")], candidates(p1="7", p2="7"))
    assert decision.conflict is None


def test_a_value_brought_in_by_an_earlier_job_counts_for_the_later():
    jobs = [job("p1", "p2", event="first"), job("p1", "p3", event="second")]
    decisions = decide(jobs, candidates(p2="7", p3="8"))
    assert [(decision.job.event, decision.conflict) for decision in decisions] == [
        ("first", None),
        ("second", "unique"),
    ]


jobs_strategy = st.lists(st.lists(st.sampled_from(IDS), min_size=1, max_size=4), max_size=12)


def union_find(jobs: list[list[str]]) -> dict[str, str]:
    """The oldest of everyone whom the jobs join, for each profile."""
    parent = {id: id for id in IDS}

    def root(id: str) -> str:
        while parent[id] != id:
            id = parent[id]
        return id

    for profiles in jobs:
        for other in profiles[1:]:
            one, two = sorted((root(profiles[0]), root(other)))  # ids sort by age here
            parent[two] = one
    return {id: root(id) for id in IDS}


@given(jobs_strategy, st.randoms(use_true_random=False))
def test_without_conflicts_the_outcome_is_that_of_plain_sets_in_any_order(jobs: list[list[str]], rng: random.Random):
    expected = union_find(jobs)
    for _ in range(3):
        rng.shuffle(jobs)
        assert survivors(decide([job(*profiles) for profiles in jobs], candidates())) == expected


@given(jobs_strategy, st.integers(0, 12))
def test_two_batches_lead_to_what_one_leads_to(jobs: list[list[str]], cut: int):
    stored = candidates()
    first = survivors(decide([job(*profiles) for profiles in jobs[:cut]], stored))
    between = {id: stored[root] for id, root in first.items()}
    second = survivors(decide([job(*profiles) for profiles in jobs[cut:]], between))
    assert {id: second[root] for id, root in first.items()} == union_find(jobs)


values_strategy = st.dictionaries(st.sampled_from(IDS), st.sampled_from("78"))


@given(jobs_strategy, values_strategy)
def test_no_person_ever_has_two_values_in_a_unique_namespace(jobs: list[list[str]], values: dict[str, str]):
    asked = [job(*profiles, event=str(number)) for number, profiles in enumerate(jobs)]
    decisions = decide(asked, candidates(**values))
    now = survivors(decisions)
    for group in groups_of(now):
        assert len({values[id] for id in group if id in values}) <= 1
    conflicts = {decision.job.event for decision in decisions if decision.conflict}
    for each in asked:
        assert (len({now[id] for id in each.profiles}) == 1) or each.event in conflicts


@given(jobs_strategy, values_strategy)
def test_a_profile_is_absorbed_once_and_never_survives_after_it(jobs: list[list[str]], values: dict[str, str]):
    gone: set[str] = set()
    for decision in decide([job(*profiles) for profiles in jobs], candidates(**values)):
        assert not gone & {decision.survivor, *decision.absorbed}
        if decision.conflict is None:
            gone.update(decision.absorbed)


WEAK = definitions(
    {"kind": "namespace", "id": "customer", "unique": True},
    {"kind": "namespace", "id": "passport", "unique": True},
    {"kind": "namespace", "id": "family", "joins_identified": True},
    {"kind": "identity-guards", "id": "g", "max_profiles": 3},
)


def identified(id: str, number: int, *unique: tuple[str, str], size: int = 1) -> Candidate:
    return Candidate(id, moment(number), frozenset(unique), size)


@pytest.mark.parametrize(
    ("namespace", "verified", "conflict"),
    [
        ("e-mail", False, "both_identified"),
        ("e-mail", True, None),
        ("family", False, None),
        ("passport", False, None),
    ],
)
def test_two_who_are_identified_are_joined_by_what_is_strong_alone(
    namespace: str, verified: bool, conflict: str | None
):
    roots = {"a": identified("a", 1, ("customer", "1")), "b": identified("b", 2, ("passport", "x"))}
    asked = MergeJob(profiles=["a", "b"], cause="identifier", namespace=namespace, event="e", verified=verified)
    (decision,) = decide([asked], roots, WEAK)
    assert decision.conflict == conflict
    anonymous = {"a": roots["a"], "b": identified("b", 2)}
    assert decide([asked], anonymous, WEAK)[0].conflict is None


def test_no_more_profiles_become_one_than_the_guards_allow():
    roots = {id: identified(id, number) for number, id in enumerate("abcd")}
    decisions = decide([job("a", "b"), job("a", "c"), job("a", "d")], roots, WEAK)
    assert [decision.conflict for decision in decisions] == [None, None, "too_many_profiles"]
    (decision,) = decide([job("a", "b")], {"a": identified("a", 1, size=2), "b": identified("b", 2, size=2)}, WEAK)
    assert decision.conflict == "too_many_profiles"


def test_profiles_that_differ_in_a_trait_which_refuses_that_stay_two():
    born = [frozenset({("born", value)}) for value in ('"1815"', '"1906"')]
    roots = {id: Candidate(id, moment(0), refusing=value) for id, value in zip("ab", born, strict=True)}
    roots["c"] = Candidate("c", moment(1))
    first, second = decide([job("a", "c"), job("c", "b")], roots)
    assert (first.conflict, second.conflict, second.namespace) == (None, "trait", "born")


def test_what_an_event_contradicts_is_never_merged_though_nothing_stored_says_so():
    asked = MergeJob(profiles=["a", "b"], cause="identifier", namespace="customer", event="e", contradicted="customer")
    (decision,) = decide([asked], {"a": Candidate("a", moment(0)), "b": Candidate("b", moment(1))})
    assert (decision.conflict, decision.namespace) == ("unique", "customer")
