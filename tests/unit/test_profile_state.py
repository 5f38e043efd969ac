"""Traits and totals do not depend on the order in which events arrive, nor on which profile they arrived at first."""

import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.origin import Origin
from workflows.commands import AppendToTrait, Increment, Log, RemoveFromTrait, SetTrait, SetTraitIfEmpty
from workflows.profile import ProfileState, Trait, apply, merge_states, place_of

names = st.sampled_from(["a", "b"])
plain = st.none() | st.booleans() | st.integers(0, 3) | st.text("xyz", max_size=2)
amounts = st.floats(allow_nan=False, allow_infinity=False).map(lambda amount: Decimal(str(amount)))
sets = st.builds(SetTrait, names, plain)
increments = st.builds(Increment, names, amounts)
appends = st.builds(AppendToTrait, names, st.text("xyz", max_size=2) | st.fixed_dictionaries({"k": st.integers(0, 2)}))
#: (when, command); the place in the list is the event's id, so that no two have one stamp.
histories = st.lists(st.tuples(st.integers(0, 3), sets | increments), max_size=10)


def empty() -> ProfileState:
    return ProfileState({}, {})


def replayed(events: list[tuple[str, int, Any]]) -> ProfileState:
    state = empty()
    for id, at, command in events:
        apply(command, state, at, id)
    return state


def numbered(history: list[tuple[int, Any]]) -> list[tuple[str, int, Any]]:
    return [(f"e{number}", at, command) for number, (at, command) in enumerate(history)]


def plain_state(events: list[tuple[str, int, Any]]) -> tuple[dict[str, Any], dict[str, Fraction]]:
    """The last value of each trait and the exact sum of each total, by sorting and by fractions."""
    traits: dict[str, Any] = {}
    totals: dict[str, Fraction] = {}
    for _, _, command in sorted(events, key=lambda event: (event[1], event[0])):
        if isinstance(command, SetTrait):
            traits[command.name] = command.value
        else:
            totals[command.name] = totals.get(command.name, Fraction(0)) + Fraction(command.by)
    return traits, totals


def compared(state: ProfileState) -> tuple[dict[str, Any], dict[str, Fraction]]:
    return state.values(), {name: Fraction(total) for name, total in state.totals.items()}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=8, unique=True),
    st.sampled_from(["latest", "earliest"]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_of_events_of_one_time_the_place_in_kafka_decides_and_not_their_ids(
    history: list[tuple[int, int, int]], strategy: Any, if_empty: bool, rng: random.Random
):
    """(time, offset, ordinal); the ids say the opposite."""
    events = [(at, place_of(Origin(0, offset, ordinal), ours=True)) for at, offset, ordinal in sorted(history)]
    wanted = 0 if strategy == "earliest" or if_empty else len(events) - 1
    numbered = list(enumerate(events))
    rng.shuffle(numbered)
    states = [empty(), empty()]
    for number, (at, place) in numbered:
        command = (SetTraitIfEmpty if if_empty else SetTrait)("t", number)
        apply(command, rng.choice(states), at, f"e{100 - number}", {"t": strategy}, place)
    assert merge_states(states, {"t": strategy}).values() == {"t": wanted}


def test_where_the_client_says_when_it_was_only_the_place_in_its_payload_decides():
    assert place_of(Origin(3, 7, 2), ours=False) == place_of(Origin(1, 9, 2), ours=False) == 2


def test_a_late_event_does_not_overwrite_a_newer_trait():
    state = empty()
    assert apply(SetTrait("city", "Oslo"), state, 20, "e2") == "traits.city"
    assert apply(SetTrait("city", "Bergen"), state, 10, "e1") is None
    assert state.values() == {"city": "Oslo"}


def test_of_two_events_at_one_moment_the_greater_id_decides():
    for order in ([("e1", "x"), ("e2", "y")], [("e2", "y"), ("e1", "x")]):
        state = replayed([(id, 5, SetTrait("a", value)) for id, value in order])
        assert state.values() == {"a": "y"}


def test_an_event_may_change_its_own_trait_again_and_repeating_it_changes_nothing():
    state = empty()
    assert apply(SetTrait("a", 1), state, 5, "e1") == "traits.a"
    assert apply(SetTrait("a", 2), state, 5, "e1") == "traits.a"
    assert apply(SetTrait("a", 2), state, 5, "e1") is None
    assert state.values() == {"a": 2}


@given(histories, st.randoms(use_true_random=False))
def test_sets_and_increments_lead_to_one_state_in_any_order(history: list[tuple[int, Any]], rng: random.Random):
    events = numbered(history)
    expected = plain_state(events)
    for _ in range(3):
        rng.shuffle(events)
        assert compared(replayed(events)) == expected


@given(histories, st.lists(st.integers(0, 2), min_size=10, max_size=10), st.randoms(use_true_random=False))
def test_profiles_that_become_one_have_the_state_of_one_that_always_was(
    history: list[tuple[int, Any]], owners: list[int], rng: random.Random
):
    events = numbered(history)
    states = [
        replayed([event for event, owner in zip(events, owners, strict=False) if owner == number])
        for number in range(3)
    ]
    for _ in range(3):
        rng.shuffle(states)
        assert compared(merge_states(states)) == plain_state(events)
        assert compared(merge_states([merge_states(states[:2]), states[2]])) == plain_state(events)


def test_a_sum_of_very_unequal_amounts_keeps_every_digit():
    amounts = [Decimal("1E+300"), Decimal("0.01"), Decimal("-1E+300"), Decimal("1E-300")]
    for order in (amounts, amounts[::-1], [amounts[index] for index in (1, 0, 3, 2)]):
        state = replayed([(f"e{number}", number, Increment("sum", by)) for number, by in enumerate(order)])
        assert Fraction(state.totals["sum"]) == Fraction("0.01") + Fraction(1, 10**300)


def test_cents_add_up():
    state = replayed([(f"e{number}", number, Increment("revenue", Decimal("0.1"))) for number in range(1000)])
    assert state.totals == {"revenue": Decimal("100.0")}


@given(st.lists(st.tuples(st.integers(0, 3), appends), max_size=8), st.randoms(use_true_random=False))
@example([(1, AppendToTrait("a", {"k": 1, "l": 2})), (2, AppendToTrait("a", {"l": 2, "k": 1}))], random.Random(0))
def test_lists_hold_each_value_once_in_an_order_of_their_own(history: list[tuple[int, Any]], rng: random.Random):
    events = numbered(history)
    expected: dict[str, set[str]] = {}
    for _, _, command in events:
        expected.setdefault(command.name, set()).add(msgspec.json.encode(command.value, order="sorted").decode())
    first = replayed(events).values()
    assert {
        name: {msgspec.json.encode(item, order="sorted").decode() for item in items} for name, items in first.items()
    } == expected
    assert all(len(items) == len(expected[name]) for name, items in first.items())
    rng.shuffle(events)
    assert replayed(events).values() == first
    halves = [replayed(events[::2]), replayed(events[1::2])]
    assert merge_states(halves).values() == merge_states(halves[::-1]).values() == first


def test_an_item_is_taken_out_of_a_list_and_only_if_it_is_there():
    state = ProfileState({"tags": Trait(["a", "b"], 5, "e5")}, {})
    assert apply(RemoveFromTrait("tags", "a"), state, 9, "e9") == "traits.tags"
    assert apply(RemoveFromTrait("tags", "a"), state, 9, "e9") is None
    assert apply(RemoveFromTrait("none", "a"), state, 9, "e9") is None
    assert state.values() == {"tags": ["b"]}


def test_appending_to_a_trait_that_is_no_list_makes_it_one():
    state = ProfileState({"tag": Trait("red", 5, "e5")}, {})
    apply(AppendToTrait("tag", "blue"), state, 9, "e9")
    assert state.values() == {"tag": ["blue", "red"]}


def test_appending_what_is_there_changes_nothing_but_when_it_was_said_last():
    state = ProfileState({"tags": Trait(["a"], 5, "e5")}, {})
    assert apply(AppendToTrait("tags", "a"), state, 4, "e4") is None
    assert apply(AppendToTrait("tags", "a"), state, 9, "e9") == "traits.tags"
    assert state.traits == {"tags": Trait(["a"], 9, "e9")}


@given(st.permutations([("a", 1), ("b", 2), ("a", 3), ("c", 0)]))
def test_a_list_is_the_same_in_whatever_order_it_is_appended_to(appended: list[tuple[str, int]]):
    state = ProfileState({}, {})
    for value, at in appended:
        apply(AppendToTrait("tags", value), state, at, f"e{at}")
    assert state.traits == {"tags": Trait(["a", "b", "c"], 3, "e3")}


def test_where_a_list_and_a_single_value_meet_the_later_wins():
    earlier, later = Trait(["a"], 5, "e5"), Trait("b", 9, "e9")
    for one, other in ((earlier, later), (later, earlier)):
        assert merge_states([ProfileState({"t": one}, {}), ProfileState({"t": other}, {})]).values() == {"t": "b"}
    earlier, later = Trait("b", 5, "e5"), Trait(["a"], 9, "e9")
    for one, other in ((earlier, later), (later, earlier)):
        assert merge_states([ProfileState({"t": one}, {}), ProfileState({"t": other}, {})]).values() == {"t": ["a"]}


def test_a_late_append_does_not_make_a_list_older():
    state = ProfileState({"tags": Trait(["a"], 50, "e5")}, {})
    apply(AppendToTrait("tags", "b"), state, 10, "e1")
    assert apply(SetTrait("tags", []), state, 40, "e4") is None
    assert state.values() == {"tags": ["a", "b"]}


def test_commands_that_are_not_about_the_profile_leave_it_alone():
    state = empty()
    assert apply(Log("hello"), state, 1, "e1") is None
    assert state == empty()


SEMILATTICES = ("latest", "earliest", "min", "max", "union", "auto")


@given(
    st.sampled_from(SEMILATTICES),
    st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3) | st.floats(-2, 2)), min_size=1, max_size=6),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
    st.randoms(use_true_random=False),
)
def test_what_becomes_of_a_trait_depends_neither_on_the_order_of_events_nor_on_when_profiles_merge(
    strategy: Any, history: list[tuple[int, float]], owners: list[int], rng: random.Random
):
    strategies = {"a": strategy}
    events = [(f"e{number}", at, SetTrait("a", value)) for number, (at, value) in enumerate(history)]
    by_time = [event[2].value for event in sorted(events, key=lambda event: (event[1], event[0]))]
    expected = {
        "latest": by_time[-1],
        "auto": by_time[-1],
        "earliest": by_time[0],
        "min": min(by_time),
        "max": max(by_time),
    }
    for _ in range(3):
        rng.shuffle(events)
        states = [empty() for _ in range(3)]
        for number, (id, at, command) in enumerate(events):
            apply(command, states[owners[number]], at, id, strategies)
            if rng.random() < 0.3:  # two of the three become one in between
                one, other = rng.sample(range(3), 2)
                states[one], states[other] = merge_states([states[one], states[other]], strategies), empty()
        found = merge_states(states, strategies).values()["a"]
        if strategy == "union":
            found = found if isinstance(found, list) else [found]
            assert sorted(map(repr, found)) == sorted({repr(value) for value in by_time})
        else:
            assert found == expected[strategy]


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=1, max_size=6), st.randoms(use_true_random=False)
)
def test_a_list_that_is_set_as_a_whole_is_the_latest_whenever_its_people_become_one(
    lists: list[Any], rng: random.Random
):
    events = list(enumerate(lists))
    owners = [rng.randrange(2) for _ in events]
    rng.shuffle(events)
    states = [empty(), empty()]
    merged_at = rng.randrange(len(events) + 1)
    for number, (at, items) in enumerate(events):
        if number == merged_at:
            states = [merge_states(states), empty()]
        apply(SetTrait("tags", items), states[owners[at] if number < merged_at else 0], at, f"e{at}")
    assert merge_states(states).values() == {"tags": lists[-1]}


@pytest.mark.parametrize(("set_at", "appended_at", "left"), [(9, 1, ["a"]), (1, 9, ["a", "b"])])
def test_a_list_that_one_has_set_and_the_other_appended_to_is_as_if_one_had_done_both(
    set_at: int, appended_at: int, left: list[str]
):
    one, other, alone = empty(), empty(), empty()
    commands = [(set_at, SetTrait("tags", ["a"]), one), (appended_at, AppendToTrait("tags", "b"), other)]
    for at, command, state in sorted(commands, key=lambda each: each[0]):
        apply(command, state, at, f"e{at}")
        apply(command, alone, at, f"e{at}")
    merged = [merge_states([one, other]).values(), merge_states([other, one]).values()]
    assert merged == [alone.values()] * 2 == [{"tags": left}] * 2


def trait(value: Any, at: int = 1, by: str = "e") -> ProfileState:
    return ProfileState({"t": Trait(value, at, by)}, {})


def test_the_survivors_value_stays_where_that_is_asked_for():
    older, younger = trait("old", at=1), trait("new", at=2)
    assert merge_states([older, younger], {"t": "survivor"}).values() == {"t": "old"}
    assert merge_states([empty(), younger, trait("newest", at=3)], {"t": "survivor"}).values() == {"t": "new"}


def test_numbers_are_added_only_where_that_is_asked_for_and_to_the_cent():
    states = [trait(0.1), trait(0.2), trait(0.3, by="f")]
    assert merge_states(states, {"t": "sum"}).values() == {"t": 0.6}
    assert merge_states([trait(40), trait(2)], {"t": "sum"}).values() == {"t": 42}
    assert merge_states([trait("4", at=2), trait(2)], {"t": "sum"}).values() == {"t": "4"}
    assert merge_states([trait(40, at=2), trait(2)]).values() == {"t": 40}  # nobody is as old as two people together


@given(st.permutations([1, 2.5, "b", "a", True, None, ["x"]]))
def test_values_of_any_kind_have_one_order_so_the_least_is_the_same_whatever_comes_first(values: list[Any]):
    states = [trait(value, at=1) for value in values]
    assert merge_states(states, {"t": "min"}).values() == {"t": 1}
    assert merge_states(
        [state for state in states if isinstance(state.traits["t"].value, str)], {"t": "max"}
    ).values() == {"t": "b"}
