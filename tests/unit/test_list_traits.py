"""Traits that are lists: what may be defined together, and that what may does not hang on the order of what comes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.definitions import read_folder
from schemas.definitions import DEFINITION
from schemas.definitions.identity import Strategy
from schemas.limits import MAX_LIST_BYTES, MAX_LIST_ITEMS
from workflows.commands import AppendToTrait, SetTrait, SetTraitIfEmpty
from workflows.definitions import DefinitionError
from workflows.list_traits import contradicting
from workflows.profile import ProfileState, apply, merge_states


def mapping(id: str, **tables: Any) -> dict[str, Any]:
    return {"kind": "mapping", "id": id, "event_type": "view", **tables}


def workflow(action: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "workflow", "id": "w", "nodes": {"n": {"action": action, "config": config}}, **more}


def found(*bodies: dict[str, Any]) -> list[str]:
    return contradicting({one.key: one for one in map(DEFINITION.validate_python, bodies)})


APPENDS = mapping("appends", append={"tags": "event.properties.tag"})
SETS = mapping("sets", set={"tags": "event.properties.tags"})
UNITED = {"kind": "trait", "id": "tags", "merge": "union"}


@pytest.mark.parametrize(
    ("whole", "key"),
    [
        (SETS, "mapping/sets"),
        (mapping("sets", set_if_empty={"tags": "event.properties.tags"}), "mapping/sets"),
        (workflow("update-profile", {"set": {"tags": "event.properties.tags"}}), "workflow/w"),
        (workflow("copy-to-profile", {"traits": {"tags": "tags"}}), "workflow/w"),
        (workflow("value-changed", {"value": "event.properties.tags", "trait": "tags"}), "workflow/w"),
    ],
)
def test_a_trait_that_is_both_set_and_appended_to_is_refused_and_both_definitions_are_named(
    whole: dict[str, Any], key: str
):
    [sentence] = found(APPENDS, whole)
    assert sentence.startswith("mapping/appends: the trait 'tags' is appended to")
    assert f" set as a whole by {key};" in sentence and "merge: union" in sentence
    assert found(APPENDS, whole, UNITED) == []


def test_what_is_removed_from_may_not_be_set_either_not_even_where_values_are_united():
    removes = workflow("update-profile", {"remove": {"tags": "event.properties.tag"}})
    [sentence] = found(SETS, removes, UNITED)
    assert "merge: union" not in sentence
    assert found(APPENDS, removes) == []


def test_drafts_and_what_is_switched_off_contradict_nothing():
    assert found(APPENDS, {**SETS, "enabled": False}) == []
    assert found(APPENDS, workflow("copy-to-profile", {"traits": {"tags": "tags"}}, draft=True)) == []
    assert found(APPENDS, mapping("others", set={"city": "event.properties.city"})) == []


def test_applying_a_folder_with_such_a_trait_says_so(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(
        "{kind: mapping, id: a, event_type: view, set: {tags: event.properties.tags}}\n---\n"
        "{kind: mapping, id: b, event_type: view, append: {tags: event.properties.tag}}\n"
    )
    with pytest.raises(DefinitionError, match=r"mapping/b: the trait .tags. is appended to or removed from"):
        read_folder(tmp_path)


_COMMANDS = st.sampled_from(["set", "set_if_empty", "append"])
_VALUES = st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True)
#: (command, value, time in microseconds, which of the person's two devices)
_WRITES = st.lists(st.tuples(_COMMANDS, _VALUES, st.integers(1, 9), st.integers(0, 1)), max_size=7)


def _state(writes: list[tuple[int, Any]], merged_after: int, strategy: Strategy) -> Any:
    """After all writes in this order: the devices' own states until they become one after so many of them."""
    states, strategies = [ProfileState({}, {}), ProfileState({}, {})], {"tags": strategy}
    for place, (number, (do, value, at, device)) in enumerate(writes):
        if place == merged_after:
            states = [merge_states(states, strategies)] * 2
        command = {
            "set": SetTrait("tags", value),
            "set_if_empty": SetTraitIfEmpty("tags", value),
            "append": AppendToTrait("tags", value[0]),
        }[do]
        apply(command, states[device], at, f"event-{number}", strategies)
    trait = (states[0] if len(writes) > merged_after else merge_states(states, strategies)).traits.get("tags")
    return trait and (sorted(trait.value) if strategy == "union" else trait.value)


@pytest.mark.parametrize(
    ("allowed", "strategy"),
    [({"append"}, "auto"), ({"set", "set_if_empty"}, "auto"), ({"append", "set", "set_if_empty"}, "union")],
)
@given(_WRITES, st.randoms(use_true_random=False), st.integers(0, 7), st.integers(0, 7))
def test_what_may_be_defined_gives_the_same_list_in_whatever_order_events_and_a_merge_come(
    allowed: set[str], strategy: Strategy, writes: list[Any], shuffle: Any, merged: int, merged_too: int
):
    numbered = list(enumerate(one for one in writes if one[0] in allowed))
    shuffled = list(numbered)
    shuffle.shuffle(shuffled)
    assert _state(numbered, merged, strategy) == _state(shuffled, merged_too, strategy)


LONG = [AppendToTrait("groups", f"{n:05}") for n in range(MAX_LIST_ITEMS + 200)]


def groups(commands: list[AppendToTrait]) -> Any:
    state = ProfileState({}, {})
    for at, command in enumerate(commands):
        apply(command, state, at, f"e{at}")
    return state


@pytest.mark.parametrize("commands", [LONG, LONG[::-1], LONG[700:] + LONG[:700]])
def test_a_list_keeps_as_many_as_it_may_have_the_same_ones_whatever_the_order(commands: list[AppendToTrait]):
    """One without end took longer with each event, until its partition stood still."""
    kept = [command.value for command in LONG[:MAX_LIST_ITEMS]]
    assert groups(commands).traits["groups"].value == kept
    assert merge_states([groups(commands[:600]), groups(commands[600:])]).traits["groups"].value == kept


def test_a_list_keeps_as_many_bytes_as_it_may_have():
    commands = [AppendToTrait("groups", f"{n}" * (MAX_LIST_BYTES // 3)) for n in (3, 1, 4, 2)]
    assert [value[0] for value in groups(commands).traits["groups"].value] == ["1", "2"]
