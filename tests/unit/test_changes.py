"""The change log: what it says changed, and that a profile can be made anew from it, others' changes between or not."""

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from workflows.changes import Merged, Ran, carry_out, field_of, made_anew
from workflows.commands import (
    AppendToTrait,
    Command,
    Increment,
    Log,
    RemoveFromTrait,
    SetMembership,
    SetTrait,
    SetTraitIfEmpty,
)
from workflows.profile import ProfileState, apply


def kept(state: ProfileState, *commands: Command) -> list[Any]:
    return [carry_out(command, state, at, f"e{at}")[2] for at, command in enumerate(commands)]


def test_the_log_says_what_each_field_was_before_and_after():
    state = ProfileState({}, {})
    log = kept(
        state,
        SetTrait("city", "Oslo"),
        SetTrait("city", "Rome"),
        AppendToTrait("tags", "a"),
        Increment("sum", Decimal("0.1")),
        Increment("sum", Decimal("0.2")),
        SetMembership("vip", True),
        SetMembership("likely", False, "model"),
        SetTraitIfEmpty("city", "Paris"),
        Log("hello"),
    )
    assert log == [
        ["set", "city", "Oslo", None, "Oslo"],
        ["set", "city", "Rome", "Oslo", "Rome"],
        ["append", "tags", "a", None, None],
        ["add", "sum", "0.1", None, "0.1"],
        ["add", "sum", "0.2", "0.1", "0.3"],
        ["segment", "vip", True],
        ["segment", "likely", False, "model"],
        ["set_if_empty", "city", "Paris"],  # it changed nothing
        None,
    ]
    fields = [field_of(change) for change in log if change]
    assert fields[1:6] == ["traits.city", "traits.tags", "totals.sum", "totals.sum", "segments.vip"]


values = st.sampled_from(["a", "b", 1, 2.5, True, None])
names = st.sampled_from(["x", "y"])
commands = st.one_of(
    *(st.builds(kind, names, values) for kind in (SetTrait, SetTraitIfEmpty, AppendToTrait, RemoveFromTrait)),
    st.builds(Increment, names, st.decimals("-9", "9", places=2)),
)


@given(st.lists(st.tuples(st.sampled_from("AB"), commands, st.integers(0, 5)), max_size=20))
def test_a_profile_made_anew_is_as_if_nobody_elses_changes_had_been_made_to_it(did: list[tuple[str, Command, int]]):
    """Two people are taken for one; their log, divided, makes each what they would have been alone."""
    together, alone = ProfileState({}, {}), {"A": ProfileState({}, {}), "B": ProfileState({}, {})}
    log: dict[str, list[Ran | Merged]] = {"A": [], "B": []}
    for number, (who, command, at) in enumerate(did):
        by = f"e{number:02}"
        *_, change = carry_out(command, together, at, by)
        log[who].append(Ran(who, at, by, [msgspec.json.decode(msgspec.json.encode(change))]))
        apply(command, alone[who], at, by)
    for who, state in alone.items():
        assert made_anew(log[who])[0] == state


def test_what_workflows_said_of_segments_is_made_anew_the_last_word_of_each():
    runs = [
        Ran("p", 1, "e1", [["segment", "vip", True], ["segment", "new", True]]),
        Ran("p", 2, "e2", [["segment", "vip", False], ["segment", "new", False, "model"]]),
    ]
    said = {("vip", "workflow"): False, ("new", "workflow"): True, ("new", "model"): False}
    assert made_anew(runs)[1] == said


def test_merges_that_stay_are_done_once_more_where_they_were():
    """Two lists unite when their people do; what is set afterwards is set, by an absorbed profile's event too."""
    happened = [
        Ran("a", 1, "e1", [["append", "tags", "x", None, None]]),
        Ran("b", 2, "e2", [["append", "tags", "y", None, None], ["segment", "vip", True]]),
        Merged("a", "b"),
    ]
    state, segments, _ = made_anew(happened)
    assert (state.values(), segments) == ({"tags": ["x", "y"]}, {("vip", "workflow"): True})
    state, *_ = made_anew([*happened, Ran("b", 3, "e3", [["set", "tags", ["z"], None, ["z"]]])])
    assert state.values() == {"tags": ["z"]}


def test_of_people_whose_merge_nobody_noted_nothing_is_lost():
    happened = [
        Ran("a", 1, "e1", [["add", "spent", "1", None, "1"], ["set", "city", "Oslo", None, "Oslo"]]),
        Ran("b", 2, "e2", [["add", "spent", "2", None, "2"], ["segment", "vip", True]]),
    ]
    state, segments, _ = made_anew(happened)
    assert (state.values(), state.totals) == ({"city": "Oslo"}, {"spent": Decimal(3)})
    assert segments == {("vip", "workflow"): True}


def test_what_was_there_before_a_change_and_after_it_is_told_anew_too():
    """What another had set, or added, stood there when this ran."""
    runs = [
        Ran("p", 1, "e1", [["add", "spent", "1", "1000", "1001"], ["set", "city", "Oslo", "Rome", "Oslo"]]),
        Ran("p", 2, "e2", [["set", "city", "Bonn", "Rome", "Bonn"], ["segment", "likely", True, "model"]]),
    ]
    assert made_anew(runs)[2] == [
        [["add", "spent", "1", None, "1"], ["set", "city", "Oslo", None, "Oslo"]],
        [["set", "city", "Bonn", "Oslo", "Bonn"], ["segment", "likely", True, "model"]],
    ]
