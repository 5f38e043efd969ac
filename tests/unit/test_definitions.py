"""Definitions: what is refused when they are loaded, and what they refer to that is not there."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.definitions import in_force_after
from schemas.definitions import DEFINITION
from schemas.limits import MAX_CONDITION_CHARS, MAX_ID_CHARS
from tests.unit.making import definitions
from workflows.definitions import DefinitionError
from workflows.event_schema import MAX_REASONS
from workflows.references import dangling

WORKFLOW = {"kind": "workflow", "id": "w", "nodes": {"a": {"action": "start"}}}


def event_type(schema: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "event-type", "id": "Order Completed", "schema": schema}


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "source"},
        {"kind": "nonsense", "id": "a"},
        {"id": "a"},
        {"kind": "source", "id": "a", "enable": True},
        {"kind": "source", "id": "a b"},
        {"kind": "source", "id": "../a"},
        {"kind": "source", "id": "x" * (MAX_ID_CHARS + 1)},
        {"kind": "source", "id": "a", "bridges": ["ftp"]},
        {"kind": "event-type", "id": "a/b"},
        {"kind": "event-type", "id": "a", "version": 0},
        {"kind": "namespace", "id": "a", "normalise": "upper"},
        {"kind": "identification-point", "id": "a", "event_type": "b", "identifiers": []},
        {"kind": "rule", "id": "a", "event_type": "b", "workflows": []},
        {"kind": "rule", "id": "a", "event_type": "b", "workflows": ["w"], "condition": ""},
        {
            "kind": "rule",
            "id": "a",
            "event_type": "b",
            "workflows": ["w"],
            "condition": "x" * (MAX_CONDITION_CHARS + 1),
        },
        {"kind": "workflow", "id": "a", "nodes": {}},
        {"kind": "workflow", "id": "a", "nodes": {str(n): {"action": "start"} for n in range(201)}},
        {"kind": "destination", "id": "Upper"},
        {"kind": "destination", "id": "a", "type": "webhook"},
        {"kind": "destination", "id": "a", "type": "kafka", "url": "https://hook.example"},
        {"kind": "destination", "id": "a", "type": "webhook", "url": "file:///etc/passwd"},
        {"kind": "destination", "id": "a", "type": "webhook", "url": "https://hook.example", "timeout_s": 0},
    ],
    ids=lambda body: repr(body)[:80],
)
def test_a_definition_that_is_none_is_refused(body: dict[str, Any]):
    with pytest.raises(ValidationError):
        DEFINITION.validate_python(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (event_type({"type": "nope"}), "event-type/order-completed: schema"),
        (event_type({"minimum": "x"}), "event-type/order-completed: schema"),
        (event_type({"pattern": "("}), "event-type/order-completed: schema"),
        (event_type({"pattern": "(?=a)a"}), "event-type/order-completed: schema"),  # not linear: not RE2's
        (event_type({"$ref": "#/$defs/missing"}), "event-type/order-completed: schema"),
        (event_type({"$ref": "https://schemas.example/order"}), "may not refer to https://schemas.example/order"),
        (event_type({"$ref": "file:///etc/passwd"}), "may not refer to file:///etc/passwd"),
        (event_type({"$ref": "other.json"}), "event-type/order-completed: schema"),
        ({"kind": "rule", "id": "r", "event_type": "a", "workflows": ["w"], "condition": "1 +"}, "rule/r: "),
        ({"kind": "segment", "id": "s", "condition": "a.all(x, a.all(y, true))"}, "segment/s: .*multiply"),
        ({"kind": "destination", "id": "d", "condition": "("}, "destination/d: "),
        ({"kind": "destination", "id": "d", "mapping": {"x": "("}}, "destination/d: "),
        ({**WORKFLOW, "nodes": {"a": {"action": "none"}}}, "workflow/w: node a: "),
    ],
    ids=lambda value: repr(value)[:80] if isinstance(value, dict) else "",
)
def test_an_error_begins_with_the_definition_that_it_is_in(body: dict[str, Any], said: str):
    with pytest.raises(DefinitionError, match=said):
        definitions(body)


ORDER = event_type(
    {
        "type": "object",
        "required": ["total"],
        "properties": {
            "total": {"type": "number", "minimum": 0},
            "a/b~c": {"type": "string"},
            "lines": {"items": {"properties": {"discs": {"type": "integer"}}}},
            "mail": {"format": "email"},
            "code": {"pattern": "^[A-Z]+$"},
        },
        "additionalProperties": {"not": {"const": "s3cret"}},
    }
)


@pytest.mark.parametrize(
    ("properties", "paths"),
    [
        ({"total": 1}, []),
        ({"total": 0.5, "lines": [{"discs": 1}], "mail": "a@b.example", "code": "AB", "else": {"x": 1}}, []),
        ({}, ["/properties/total"]),
        ({"total": "1"}, ["/properties/total"]),
        ({"total": -1, "lines": [{"discs": 1}, {"discs": 1.5}]}, ["/properties/lines/1/discs", "/properties/total"]),
        ({"total": 1, "a/b~c": 1}, ["/properties/a~1b~0c"]),
        ({"total": 1, "mail": "nobody"}, ["/properties/mail"]),
        ({"total": 1, "code": "ab"}, ["/properties/code"]),
    ],
    ids=repr,
)
def test_properties_are_checked_and_a_reason_points_at_each_fault(properties: dict[str, Any], paths: list[str]):
    found = definitions(ORDER).schemas["order-completed"].reasons(properties)
    assert sorted(reason.path for reason in found) == paths
    assert {reason.code for reason in found} <= {"schema_invalid"}


def test_reasons_never_repeat_values_and_are_not_endless():
    schema = definitions(ORDER).schemas["order-completed"]
    assert "s3cret" not in repr(schema.reasons({"total": "s3cret", "x": "s3cret", "mail": "s3cret"}))
    assert len(schema.reasons({"total": 1, "lines": [{"discs": "x"}] * 100})) == MAX_REASONS


def test_a_pattern_that_would_take_others_ages_is_answered_at_once():
    schema = definitions(event_type({"properties": {"s": {"pattern": "^(a+)+$"}}})).schemas["order-completed"]
    assert len(schema.reasons({"s": "a" * 50_000 + "b"})) == 1


def test_what_is_switched_off_is_not_in_force():
    off = {"enabled": False}
    found = definitions(
        {"kind": "rule", "id": "r", "event_type": "a", "workflows": ["w"], **off},
        {"kind": "segment", "id": "s", **off},
        {
            "kind": "identification-point",
            "id": "i",
            "event_type": "a",
            "identifiers": [{"namespace": "n", "property": "p"}],
            **off,
        },
        {"kind": "source", "id": "shop", **off},
    )
    assert (found.rules.all, found.segments, found.points) == ([], [], {})
    assert not found.sources["shop"].enabled


def test_a_namespace_that_nobody_defined_has_the_defaults():
    found = definitions({"kind": "namespace", "id": "customer", "unique": True}, {"kind": "namespace", "id": "mail"})
    assert found.unique_namespaces() == ["customer"]
    assert (found.namespace("other").unique, found.namespace("other").normalise) == (False, "trim")


def test_every_reference_to_nothing_is_reported():
    bodies = [
        {"kind": "rule", "id": "r", "event_type": "a", "source": "gone", "workflows": ["w", "missing"]},
        {
            "kind": "identification-point",
            "id": "i",
            "event_type": "a",
            "source": "gone",
            "identifiers": [{"namespace": "undefined-is-fine", "property": "x"}],
        },
        {
            "kind": "workflow",
            "id": "w",
            "nodes": {
                "in": {"action": "segment", "config": {"segment": "nobody"}},
                "out": {"action": "send-to-destination", "config": {"destination": "nowhere"}},
            },
        },
    ]
    found = dangling({each.key: each for each in map(DEFINITION.validate_python, bodies)})
    assert sorted(found) == [
        "identification-point/i: there is no source 'gone'",
        "rule/r: there is no source 'gone'",
        "rule/r: there is no workflow 'missing'",
        "workflow/w: node in: there is no segment 'nobody'",
        "workflow/w: node out: there is no destination 'nowhere'",
    ]
    there = [{"kind": "source", "id": "gone"}, {**WORKFLOW, "id": "missing"}]
    there += [{"kind": "segment", "id": "nobody"}, {"kind": "destination", "id": "nowhere"}]
    assert dangling({each.key: each for each in map(DEFINITION.validate_python, bodies + there)}) == []


def test_what_would_be_in_force_together_is_checked_before_it_is_applied():
    current = {"identity-guards/a": {"kind": "identity-guards", "id": "a"}}
    other = {"identity-guards/b": {"kind": "identity-guards", "id": "b"}}
    with pytest.raises(DefinitionError, match="one is enough"):
        in_force_after(current, dict(other))
    in_force_after(current, {"identity-guards/a": None, **other})


def test_what_is_applied_may_refer_to_what_is_in_force_and_nothing_may_be_left_without_what_it_refers_to():
    source = {"source/shop": {"kind": "source", "id": "shop"}, "workflow/w": {**WORKFLOW, "id": "w"}}
    rule = {"rule/r": {"kind": "rule", "id": "r", "event_type": "a", "source": "shop", "workflows": ["w"]}}
    in_force_after(source, dict(rule))
    with pytest.raises(DefinitionError, match="rule/r: there is no source 'shop'"):
        in_force_after({"workflow/w": source["workflow/w"]}, dict(rule))
    with pytest.raises(DefinitionError, match="rule/r: there is no source 'shop'"):
        in_force_after({**source, **rule}, {"source/shop": None})


@pytest.mark.parametrize(
    ("expression", "leaks"),
    [
        ("profile.traits.ssn", True),
        ("profile", True),
        ("profile.traits", True),
        ("profile.traits.city", False),
        ("profile.counters", False),
        ("event.properties.ssn", False),
    ],
)
def test_a_private_trait_is_not_sent_to_who_does_not_ask_for_private_traits(expression: str, leaks: bool):
    def applied(private: bool) -> None:
        bodies: list[dict[str, Any]] = [
            {"kind": "trait", "id": "ssn", "private": True},
            {"kind": "destination", "id": "crm", "type": "webhook", "url": "https://crm.example", "private": private},
            {
                "kind": "workflow",
                "id": "w",
                "nodes": {
                    "send": {
                        "action": "send-to-destination",
                        "config": {"destination": "crm", "properties": {"x": expression}},
                    }
                },
            },
        ]
        in_force_after({}, {f"{body['kind']}/{body['id']}": body for body in bodies})

    applied(private=True)
    if leaks:
        with pytest.raises(DefinitionError, match="workflow/w: node send: the trait 'ssn' is private"):
            applied(private=False)
    else:
        applied(private=False)


def test_private_traits_are_not_looked_up_onto_events():
    bodies = {
        "trait/ssn": {"kind": "trait", "id": "ssn", "private": True},
        "source/app": {"kind": "source", "id": "app", "lookup": ["plan", "ssn"]},
    }
    with pytest.raises(DefinitionError, match="source/app: lookup: the trait 'ssn' is private"):
        in_force_after({}, bodies)
    in_force_after({}, {**bodies, "trait/ssn": {"kind": "trait", "id": "ssn"}})


def test_definitions_are_utf_8_wherever_they_are_read(tmp_path: Path):
    (tmp_path / "city.yaml").write_text("{kind: segment, id: c, condition: \"city == 'Köln'\"}", encoding="utf-8")
    print_it = "import sys, deploy.definitions as d; from pathlib import Path; "
    print_it += "print(ascii(d.read_folder(Path(sys.argv[1]))['segment/c'].condition))"
    elsewhere = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", print_it, tmp_path], env=elsewhere, capture_output=True, text=True)
    assert done.stdout == ascii("city == 'Köln'") + "\n", done.stderr
