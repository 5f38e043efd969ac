"""Identification points: which identifiers they find in which events, and in what form."""

from typing import Any

import pytest

from schemas.definitions import DEFINITION
from tests.unit.making import definitions, event
from workflows.identification import IdentifierKey, Identifiers, Shown

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
    shown = Identifiers(POINTS, lambda name, value: "").shown_by(event(1, **{"type": "signed-up", **fields}))
    assert [one.key for one in shown] == expected


def keys(namespace: dict[str, Any], *identifiers: dict[str, Any], **properties: Any) -> list[IdentifierKey]:
    rules = definitions(
        {"kind": "namespace", "id": "ns", **namespace},
        {"kind": "identification-point", "id": "p", "event_type": "page-view", "identifiers": list(identifiers)},
    )
    shown = Identifiers(rules, lambda name, value: f"hash of {name} {value}").shown_by(event(properties=properties))
    return [one.key for one in shown]


TOGETHER = {"namespace": "ns", "properties": ["name", "born.on"]}


def test_properties_that_identify_together_must_all_be_there():
    found = keys({"normalise": "lower"}, TOGETHER, name=" Ada ", born={"on": "1815-12-10"})
    assert found == [("ns", '["ada","1815-12-10"]')]
    for missing in ({"name": "Ada"}, {"born": {"on": "1815"}}, {"name": "null", "born": {"on": "1815"}}):
        assert keys({}, TOGETHER, **missing) == []


def test_what_is_together_in_another_way_is_another():
    one = keys({}, TOGETHER, name='a","b', born={"on": "c"})
    other = keys({}, TOGETHER, name="a", born={"on": 'b","c'})
    assert one != other


def test_what_is_long_together_is_one_value_that_an_index_can_hold():
    """PostgreSQL refused the event: of 2,704 bytes at most."""
    parts, names = [f"{n}" + "\u00fc" * 199 for n in range(5)], list("abcde")
    whole = {"namespace": "ns", "properties": names}
    [(_, one)] = keys({}, whole, **dict(zip(names, parts, strict=True)))
    [(_, other)] = keys({}, whole, **dict(zip(names, parts[::-1], strict=True)))
    assert len(one.encode()) < 100 and one != other
    assert keys({}, whole, **dict(zip(names, parts, strict=True))) == [("ns", one)]


def test_a_hashed_namespace_shows_no_value():
    assert keys({"hashed": True}, {"namespace": "ns", "property": "name"}, name=" Ada") == [("ns", "hash of ns Ada")]


def test_a_namespace_may_have_junk_of_its_own():
    junk = {"normalise": "lower", "junk": ["demo", "TEST-1"]}
    for value, expected in (("Demo", []), ("test-1", [("ns", "test-1")]), ("TEST-1", []), ("ada", [("ns", "ada")])):
        assert keys(junk, {"namespace": "ns", "property": "name"}, name=value) == expected


def test_what_any_point_verifies_is_verified():
    rules = definitions(
        *(
            {
                "kind": "identification-point",
                "id": id,
                "event_type": "page-view",
                "verified": verified,
                "identifiers": [{"namespace": "user", "property": "user"}],
            }
            for id, verified in (("a", False), ("b", True), ("c", False))
        )
    )
    shown = Identifiers(rules, lambda name, value: value).shown_by(event(properties={"user": "ada"}))
    assert shown == [Shown(("user", "ada"), True)]


@pytest.mark.parametrize("wrong", [{}, {"property": "a", "properties": ["b"]}, {"properties": list("abcdef")}])
def test_an_identifier_is_one_property_or_a_few(wrong: dict[str, Any]):
    with pytest.raises(ValueError):
        DEFINITION.validate_python(
            {
                "kind": "identification-point",
                "id": "p",
                "event_type": "x",
                "identifiers": [{"namespace": "ns", **wrong}],
            }
        )
