"""Every built-in action: its ports, its settings, what it decides."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from workflows.actions import builtin
from workflows.actions.action import Action, microseconds
from workflows.actions.builtin import BUILTIN, load_actions
from workflows.actions.event import EmitEvent
from workflows.actions.flow import Branch, LogMessage, Start
from workflows.actions.outside import SendToDestination
from workflows.actions.profile import ChangeSegment, CopyToProfile, MergeProfiles, UpdateProfile
from workflows.actions.testing import run_action
from workflows.commands import (
    AppendToTrait,
    Emit,
    Increment,
    Log,
    MergeBy,
    RemoveFromTrait,
    SendTo,
    SetMembership,
    SetTrait,
)

ORDER = {"total": 12.5, "discs": 2, "customer": {"id": "C1", "name": None, "tags": ["a", "b"]}}


def commands(action: Action[Any], config: dict[str, Any], **given: Any) -> list[Any]:
    """What the action decides, after leaving by its main port."""
    outcome = run_action(action, config, **given)
    assert outcome.port == action.ports[0]
    return outcome.commands


def test_start_does_nothing_and_goes_on():
    assert commands(Start(), {}) == []


def test_log_notes_its_own_text():
    assert commands(LogMessage(), {"message": "here"}) == [Log("here")]


@pytest.mark.parametrize(
    ("condition", "port"),
    [
        ("event.properties.total > 10", "true"),
        ("event.properties.total > 20", "false"),
        ("event.properties.missing > 20", "false"),
        ("event.properties.total", "false"),
        ('event.type == "test-event" && event.source == "test"', "true"),
        ('profile.counters["page-view"] > 3 && profile.traits.vip', "true"),
        ('profile.id == "profile-1" && event.session == ""', "true"),
    ],
)
def test_a_condition_leaves_by_true_only_where_it_holds(condition: str, port: str):
    outcome = run_action(Branch(), {"if": condition}, properties=ORDER, traits={"vip": True}, counters={"page-view": 4})
    assert (outcome.port, outcome.commands) == (port, [])


def test_copied_properties_become_traits_and_missing_ones_are_passed_over():
    config = {
        "traits": {
            "customer_id": "customer.id",
            "tags": "customer.tags",
            "empty": "customer.name",
            "gone": "customer.street",
            "deeper": "total.cents",
        }
    }
    assert commands(CopyToProfile(), config, properties=ORDER) == [
        SetTrait("customer_id", "C1"),
        SetTrait("tags", ["a", "b"]),
    ]


def test_a_profile_is_updated_in_all_four_ways():
    config = {
        "set": {"last": "event.properties.customer.id", "none": "event.properties.customer.name"},
        "increment": {"revenue": "event.properties.total", "orders": "1", "missing": "event.properties.missing"},
        "append": {"tags": '"buyer"'},
        "remove": {"tags": '"visitor"'},
    }
    assert commands(UpdateProfile(), config, properties=ORDER) == [
        SetTrait("last", "C1"),
        Increment("revenue", Decimal("12.5")),
        Increment("orders", Decimal(1)),
        AppendToTrait("tags", "buyer"),
        RemoveFromTrait("tags", "visitor"),
    ]


@pytest.mark.parametrize("amount", [0.1, 33.47, 1e22, 2**53, 5e-324, -0.5])
def test_a_total_grows_by_exactly_what_the_client_wrote(amount: float):
    config = {"increment": {"n": "event.properties.n"}}
    (command,) = commands(UpdateProfile(), config, properties={"n": amount})
    assert command == Increment("n", Decimal(repr(amount)))


@pytest.mark.parametrize("amount", ["1", True, [1], {"a": 1}], ids=repr)
def test_a_total_does_not_grow_by_what_is_no_number(amount: Any):
    with pytest.raises(TypeError):
        run_action(UpdateProfile(), {"increment": {"n": "event.properties.n"}}, properties={"n": amount})


@pytest.mark.parametrize("amount", [1e101, -1e308])
def test_a_total_does_not_grow_by_more_than_others_can_read_the_sum_of(amount: float):
    with pytest.raises(ValueError, match="at once"):
        run_action(UpdateProfile(), {"increment": {"n": "event.properties.n"}}, properties={"n": amount})


@pytest.mark.parametrize("expression", ["1.0 / event.properties.zero", "0.0 / event.properties.zero"])
@pytest.mark.parametrize("way", ["set", "increment", "append", "remove"])
def test_infinity_and_not_a_number_never_reach_a_profile(expression: str, way: str):
    assert commands(UpdateProfile(), {way: {"n": expression}}, properties={"zero": 0.0}) == []


@pytest.mark.parametrize(("do", "member"), [({}, True), ({"do": "add"}, True), ({"do": "remove"}, False)], ids=repr)
def test_a_segment_is_entered_or_left(do: dict[str, str], member: bool):
    assert commands(ChangeSegment(), {"segment": "vip", **do}) == [SetMembership("vip", member)]


def test_a_merge_is_asked_for_by_the_value_of_the_trait():
    assert commands(MergeProfiles(), {"trait": "mail"}, traits={"mail": " a@b.example"}) == [
        MergeBy("mail", "a@b.example")
    ]


@pytest.mark.parametrize("traits", [{}, {"mail": "null"}, {"mail": ""}, {"mail": ["a"]}, {"other": "x"}], ids=repr)
def test_no_merge_is_asked_for_without_a_value_that_identifies(traits: dict[str, Any]):
    assert commands(MergeProfiles(), {"trait": "mail"}, traits=traits) == []


def test_an_emitted_event_has_a_normalised_type_and_computed_properties():
    config = {
        "type": "Big Order",
        "properties": {"total": "event.properties.total * 2.0", "gone": "event.properties.x"},
    }
    assert commands(EmitEvent(), config, properties=ORDER) == [Emit("big-order", {"total": 25.0, "gone": None})]


def test_a_send_names_its_destination_and_what_goes_along():
    config = {"destination": "crm", "properties": {"customer": "event.properties.customer"}}
    assert commands(SendToDestination(), config, properties=ORDER) == [SendTo("crm", {"customer": ORDER["customer"]})]


@pytest.mark.parametrize(
    ("action", "config"),
    [
        (Start(), {"x": 1}),
        (LogMessage(), {}),
        (LogMessage(), {"message": "x" * 501}),
        (Branch(), {}),
        (Branch(), {"if": "1 +"}),
        (Branch(), {"if": ["true"]}),
        (CopyToProfile(), {"traits": {}}),
        (CopyToProfile(), {"traits": {"a": "b..c"}}),
        (CopyToProfile(), {"traits": {"a": ""}}),
        (UpdateProfile(), {"set": {"a": 1}}),
        (UpdateProfile(), {"delete": {"a": "1"}}),
        (ChangeSegment(), {"segment": "no spaces"}),
        (ChangeSegment(), {"segment": "vip", "do": "toggle"}),
        (MergeProfiles(), {"trait": ""}),
        (EmitEvent(), {"type": "a/b"}),
        (EmitEvent(), {"type": "a", "properties": {"x": "1 +"}}),
        (SendToDestination(), {"destination": "No_Topic"}),
    ],
    ids=lambda value: value.name if isinstance(value, Action) else repr(value),
)
def test_settings_that_an_action_cannot_use_are_refused(action: Action[Any], config: dict[str, Any]):
    with pytest.raises(ValidationError):
        run_action(action, config)


def test_every_built_in_action_is_found_by_a_name_of_its_own_and_says_what_it_does():
    found = load_actions()
    for action in BUILTIN:
        assert type(found[action.name]) is action
        assert action.__doc__
        assert len(set(action.ports)) == len(action.ports) > 0
    assert len({action.name for action in BUILTIN}) == len(BUILTIN)


@pytest.mark.parametrize(
    ("time", "since_1970"),
    [
        (datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC), 1_000_001),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(1, 1, 1, tzinfo=UTC), -62_135_596_800_000_000),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799_999_999),
    ],
)
def test_times_are_counted_exactly_to_the_microsecond(time: datetime, since_1970: int):
    """Traits are stored with this number; the later wins."""
    assert microseconds(time) == since_1970


class Postcard(Start):
    """Somebody's own."""

    name = "send-postcard"


class Usurper(Start):
    """Somebody's own, of the same name as ours."""


class Point:
    """An entry point of an installed package."""

    value = "somebodys.package:Action"

    def __init__(self, action: type[Action[Any]]) -> None:
        self._action = action

    def load(self) -> type[Action[Any]]:
        return self._action


def test_a_package_adds_actions_but_takes_no_name_that_is_taken(monkeypatch: pytest.MonkeyPatch):
    installed = [Point(Postcard)]
    monkeypatch.setattr(builtin, "entry_points", lambda group: installed if group == "headwater.actions" else [])
    assert type(load_actions()["send-postcard"]) is Postcard
    installed.append(Point(Usurper))
    with pytest.raises(ValueError, match=r"'start'.*somebodys\.package"):
        load_actions()
