"""The predefined event types: all of them are definitions that work, and what a folder says itself comes first."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.definitions import read_folder
from schemas.definitions.predefined import GROUPS
from tests.unit.making import event
from workflows.actions.action import Run
from workflows.actions.builtin import load_actions
from workflows.definitions import DefinitionError, Definitions
from workflows.engine import run_workflow
from workflows.profile import ProfileState

ALL = {name for group in GROUPS.values() for name in group}


def compiled(folder: Path, text: str) -> Definitions:
    (folder / "a.yaml").write_text(text)
    return Definitions(read_folder(folder).values(), load_actions())


BOTH = "{kind: predefined, id: web}\n---\n{kind: predefined, id: commerce}"


def test_one_line_switches_a_group_on(tmp_path: Path):
    known = compiled(tmp_path, BOTH)
    assert known.schemas.keys() == ALL
    assert len(ALL) >= 20


def test_some_of_a_group_can_be_chosen_and_one_that_it_does_not_have_is_named(tmp_path: Path):
    known = compiled(tmp_path, "{kind: predefined, id: commerce, types: [Order Completed, cart-viewed]}")
    assert known.schemas.keys() == {"order-completed", "cart-viewed"}
    assert known.mappings.keys() == {"order-completed"}
    with pytest.raises(DefinitionError, match=r"^predefined/web: there is no 'order-completed'"):
        compiled(tmp_path, "{kind: predefined, id: web, types: [order-completed]}")


def test_what_a_folder_defines_itself_comes_first(tmp_path: Path):
    own = "\n---\n{kind: event-type, id: search, version: 7}\n---\n{kind: mapping, id: search, event_type: search}"
    known = compiled(tmp_path, BOTH + own)
    assert known.schemas["search"].version == 7
    assert len(known.mappings["search"]) == 1


def changes(known: Definitions, type: str, properties: dict[str, Any], state: ProfileState) -> list[Any]:
    sent = event(5, type=type, profile="p", properties=properties)
    assert known.schemas[type].reasons(msgspec.json.decode(sent.properties)) == []
    return [run_workflow(one.graph, Run(sent, state), known.strategies).errors for one in known.mappings_of(sent)]


@pytest.mark.parametrize("type", sorted(ALL))
def test_each_maps_the_least_and_the_most_that_it_may_hold_without_an_error(tmp_path: Path, type: str):
    known = compiled(tmp_path, BOTH)
    (described,) = (group[type] for group in GROUPS.values() if type in group)
    least = {name: example(described.properties[name]) for name in described.required}
    most = {name: example(schema) for name, schema in described.properties.items()}
    for properties in (least, most):
        assert changes(known, type, properties, ProfileState({}, {})) in ([], [[]])
    if described.required:
        assert known.schemas[type].reasons({}) != []


def example(schema: dict[str, Any]) -> Any:
    match schema.get("type"):
        case "string":
            return {"date": "1815-12-10"}.get(schema.get("format", ""), "EUR" if "pattern" in schema else "text")
        case "number" | "integer":
            return 1
        case "array":
            return []
        case "object":
            return {"marketing": True} if "additionalProperties" in schema else {}
        case _:
            return "17"


def test_orders_add_up_and_the_first_stays_the_first(tmp_path: Path):
    known, state = compiled(tmp_path, BOTH), ProfileState({}, {})
    for total in (10.5, 0.25):
        changes(known, "order-completed", {"order_id": f"o{total}", "total": total}, state)
    changes(known, "order-refunded", {"order_id": "o0.25", "total": 0.25}, state)
    assert {name: float(total) for name, total in state.totals.items()} == {
        "orders": 2,
        "order_total": 10.75,
        "orders_refunded": 1,
        "refund_total": 0.25,
    }
    assert state.values()["first_order_at"] == "2026-01-01T00:00:05+00:00"
