"""The values of identifiers: their one form, what never identifies anybody, and where they lie."""

import json
from typing import Any

import msgspec
import pytest

from schemas.limits import MAX_IDENTIFIER_CHARS
from workflows.identifiers import identifier_value, may_hold, value_at


@pytest.mark.parametrize(
    "junk",
    [
        *("", "  ", "0", "-1", "null", "NULL", "nil", "None", "undefined", "NaN", "nan", "n/a", "unknown"),
        *("anonymous", "guest", "true", "false", "[object Object]", "{}", "[]", "(not set)"),
        *(0, -1, None, True, False, 1.5, [], {}, ["a"], "00000000-0000-0000-0000-000000000000"),
        *("a\nb", "a\u200bb", "x" * (MAX_IDENTIFIER_CHARS + 1)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("normalise", ["trim", "lower", "digits"])
def test_junk_identifies_nobody(junk: object, normalise: str):
    assert identifier_value(junk, normalise) is None


@pytest.mark.parametrize("junk", ["+", "++", "call me", "---", "+0", "(0)", "-", "n/a +"])
def test_a_number_without_digits_identifies_nobody(junk: str):
    assert identifier_value(junk, "digits") is None


@pytest.mark.parametrize(
    ("sent", "normalise", "value"),
    [
        (" C-17 ", "trim", "C-17"),
        (17, "trim", "17"),
        (2**53, "trim", str(2**53)),
        ("Ada@Example.ORG ", "lower", "ada@example.org"),
        ("+44 (0)20 7946-0958", "digits", "+4402079460958"),
        ("0049 30 1234", "digits", "0049301234"),
        ("00001", "trim", "00001"),
        ("x" * MAX_IDENTIFIER_CHARS, "trim", "x" * MAX_IDENTIFIER_CHARS),
    ],
)
def test_a_value_has_one_form(sent: object, normalise: str, value: str):
    assert identifier_value(sent, normalise) == value
    assert identifier_value(value, normalise) == value


def test_a_path_leads_into_objects_and_nowhere_else():
    properties = {"customer": {"id": 7, "tags": ["a"]}, "a.b": 1, "__class__": None}
    assert value_at(properties, "customer.id") == 7
    for path in ("customer.name", "customer.id.x", "customer.tags.0", "missing", "a.b", "__class__.__name__", "items"):
        assert value_at(properties, path) is None
    assert value_at(None, "customer") is None


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (" Ada.Lovelace+news@Example.ORG. ", "ada.lovelace+news@example.org"),
        ("ada@localhost", "ada@localhost"),
        ("ada", None),
        ("ada@", None),
        ("@example.org", None),
        ("ada@example..org", None),
        ("ada lovelace@example.org", None),
        ("ada@bob@example.org", None),
    ],
)
def test_an_email_is_lower_cased_and_what_is_none_identifies_nobody(sent: str, value: str | None):
    assert identifier_value(sent, "email") == value


@pytest.mark.parametrize(
    ("sent", "region", "value"),
    [
        ("+48 601 234 567", None, "+48601234567"),
        ("601-234-567", "PL", "+48601234567"),
        ("0048 601 234 567", "PL", "+48601234567"),
        ("(020) 7946 0958", "GB", "+442079460958"),
        ("+44 20 7946 0958", "PL", "+442079460958"),
        (601234567, "PL", "+48601234567"),
        ("601234567", None, None),
        ("12", "PL", None),
        ("call me", "PL", None),
        ("+999 123", None, None),
    ],
)
def test_a_phone_number_has_one_form_however_it_is_written(sent: object, region: str | None, value: str | None):
    assert identifier_value(sent, "phone", region) == value
    assert value is None or identifier_value(value, "phone", "US") == value


@pytest.mark.parametrize("name", ["user", "a/b", 'a"b', "caf\u00e9", "a\\b"])
@pytest.mark.parametrize(
    "written", [json.dumps, lambda name: json.dumps(name, ensure_ascii=False), lambda name: "".join(map(spelt, name))]
)
def test_a_field_is_not_overlooked_however_its_name_is_written(name: str, written: Any):
    text = written(name)
    text = text if text.startswith('"') else f'"{text}"'
    assert json.loads(text) == name
    assert may_hold(msgspec.Raw(f"{{{text}: 1}}".encode()), name)


def spelt(letter: str) -> str:
    return f"\\u{ord(letter):04x}"


def test_what_has_no_such_field_need_not_be_read():
    assert not may_hold(msgspec.Raw(b'{"users": ["use"]}'), "user")
