"""Reshaping: which definition applies, what it makes of an event, and what becomes of one that it cannot fill."""

from typing import Any

import msgspec
import pytest

from schemas.definitions import DEFINITION
from schemas.events import ValidEvent
from tests.unit.making import definitions, event
from workflows.definitions import DefinitionError
from workflows.reshaping import Reshaped, reshape

ORDER = {"no": 7, "client": {"number": "c1", "mail": "a@b.example"}, "sum": 9.5, "debug": {"trace": 1}}


def shaped(*bodies: dict[str, Any], properties: dict[str, Any] = ORDER, **fields: Any) -> Reshaped:
    fields = {"type": "order", "session": "s1", "context": {"page": {"url": "/x"}}, **fields}
    sent = event(properties=properties, **fields)
    named = [{"kind": "reshaping", "event_type": "order", **body} for body in bodies]
    return reshape(sent, msgspec.json.decode(sent.properties), definitions(*named).reshapings.get("order", []))


def plain(made: ValidEvent) -> dict[str, Any]:
    return msgspec.json.decode(made.properties)


def test_templates_make_another_event_of_it_and_leave_its_identity_alone():
    made = shaped(
        {
            "id": "orders",
            "becomes": "Order Completed",
            "properties": {
                "order": {"id": "$event.properties.no", "total": "$event.properties.sum"},
                "visit": "$session.id",
            },
            "context": {"url": "$context.page.url", "was": "$event.type"},
        }
    )
    before = event(type="order", session="s1", properties=ORDER, context={"page": {"url": "/x"}})
    assert made.by == "orders"
    assert made.event.type == "order-completed"
    assert plain(made.event) == made.properties == {"order": {"id": 7, "total": 9.5}, "visit": "s1"}
    assert msgspec.json.decode(made.event.context) == {"url": "/x", "was": "order"}
    changed = {"type", "properties", "context"}
    for field in set(before.__struct_fields__) - changed:
        assert getattr(made.event, field) == getattr(before, field)


def test_properties_are_moved_then_defaulted_then_dropped():
    made = shaped(
        {
            "id": "orders",
            "move": {"client.number": "customer.id", "no": "order.id", "missing": "elsewhere"},
            "default": {"currency": "EUR", "sum": 0, "client.mail": "none@example", "customer.vip": False},
            "drop": ["debug", "client.mail", "not.there"],
        }
    )
    assert plain(made.event) == {
        "client": {},
        "customer": {"id": "c1", "vip": False},
        "order": {"id": 7},
        "sum": 9.5,
        "currency": "EUR",
    }
    assert made.event.type == "order"


def test_what_was_sent_is_not_changed_by_moving_it():
    sent = {"a": {"b": {"c": 1}}}
    move = {"kind": "reshaping", "id": "r", "event_type": "order", "move": {"a.b.c": "a.b.d"}, "drop": ["a.x"]}
    found = definitions(move).reshapings["order"]
    made = reshape(event(type="order", properties=sent), sent, found)
    assert made.properties == {"a": {"b": {"d": 1}}}
    assert sent == {"a": {"b": {"c": 1}}}


def test_the_first_by_id_that_applies_is_used_and_only_that():
    made = shaped(
        {"id": "1-other-source", "source": "elsewhere", "becomes": "wrong"},
        {"id": "2-condition", "condition": "event.properties.sum > 10.0", "becomes": "large"},
        {"id": "3-no-value", "condition": "event.properties.nothing > 10.0", "becomes": "wrong"},
        {"id": "4-off", "enabled": False, "becomes": "wrong"},
        {
            "id": "5-any",
            "source": "shop",
            "condition": 'session.id == "s1" && context.page.url == "/x"',
            "becomes": "small",
        },
        {"id": "6-too-late", "becomes": "wrong"},
    )
    assert (made.by, made.event.type) == ("5-any", "small")


def test_an_event_that_none_applies_to_stays_as_it_is():
    made = shaped({"id": "r", "condition": "false", "becomes": "x"})
    assert (made.by, made.event) == (
        None,
        event(type="order", session="s1", properties=ORDER, context={"page": {"url": "/x"}}),
    )


@pytest.mark.parametrize(
    "template, pointer",
    [
        ({"properties": {"a": "$event.properties.client.phone"}}, "/properties/client/phone"),
        ({"context": {"a": "$context.campaign.name"}}, "/context/campaign/name"),
        ({"properties": {"a": "$session.id"}}, "/session/id"),
        ({"move": {"no": "sum.order"}}, "/properties/sum/order"),
    ],
)
def test_an_event_that_cannot_be_filled_is_rejected_with_the_path_or_kept(template: dict[str, Any], pointer: str):
    made = shaped({"id": "r", "becomes": "x", **template}, session=None)
    (reason,) = made.reasons
    assert (reason.code, reason.path) == ("cannot_reshape", pointer)
    assert "r needs" in reason.message
    kept = shaped({"id": "r", "becomes": "x", "unfilled": "keep", **template}, session=None)
    assert (kept.reasons, kept.by, kept.event.type, plain(kept.event)) == ([], None, "order", ORDER)


def test_what_a_template_blows_up_beyond_the_limits_is_rejected():
    large = {"text": "x" * 100_000}
    made = shaped({"id": "r", "properties": {str(n): "$event.properties.text" for n in range(3)}}, properties=large)
    assert [reason.code for reason in made.reasons] == ["event_too_large"]
    made = shaped({"id": "r", "context": {"copy": "$event.properties.text"}}, properties=large)
    assert [reason.code for reason in made.reasons] == ["invalid_context"]
    deep: Any = "$event.properties.d"
    for _ in range(40):
        deep = {"n": deep}
    nested: Any = 1
    for _ in range(40):
        nested = [nested]
    made = shaped({"id": "r", "properties": deep}, properties={"d": nested})
    assert [reason.code for reason in made.reasons] == ["too_deep"]


@pytest.mark.parametrize(
    "body, message",
    [
        ({"properties": {"a": "$profile.id"}}, "there is no 'profile' here"),
        ({"context": {"a": "$"}}, "is no path"),
        ({"condition": "event.properties.("}, ""),
    ],
)
def test_a_reshaping_that_cannot_work_is_refused_when_it_is_applied(body: dict[str, Any], message: str):
    with pytest.raises(DefinitionError, match=f"^reshaping/r: .*{message}"):
        definitions({"kind": "reshaping", "id": "r", "event_type": "order", **body})


def test_a_new_type_is_a_type():
    with pytest.raises(ValueError, match="not an event type"):
        DEFINITION.validate_python({"kind": "reshaping", "id": "r", "event_type": "order", "becomes": "!"})


def test_what_comes_out_is_checked_as_json_has_it():
    made = shaped({"id": "r", "properties": {"at": "$event.time", "no": "$event.properties.no"}})
    assert made.properties == plain(made.event) == {"at": "2026-01-01T00:00:00Z", "no": 7}
