"""What of a schema's change may refuse what was taken: judged by the rules, and by trying values with a validator."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.compatibility import breaking

TEXT, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (of(a=TEXT), of(a=TEXT)),
        (of(a=TEXT), of(a=TEXT, b=NUMBER)),
        (of(a=INTEGER), of(a=NUMBER)),
        (of(a=TEXT), of(a={"type": ["string", "null"]})),
        (of(a=TEXT), of()),
        ({**of(a=TEXT), "required": ["a"]}, of(a=TEXT)),
        (of(a={"enum": [1, 2]}), of(a={"enum": [1, 2, 3]})),
        (of(a={"const": 1}), of(a={"enum": [1, 2]})),
        (of(a={**TEXT, "maxLength": 5}), of(a={**TEXT, "maxLength": 9})),
        (of(a={**NUMBER, "minimum": 5}), of(a=NUMBER)),
        ({**of(a=TEXT), "additionalProperties": False}, of(a=TEXT)),
        (of(a={"type": "array", "items": INTEGER}), of(a={"type": "array", "items": NUMBER})),
        ({"title": "a"}, {"title": "b", "description": "c"}),
    ],
)
def test_what_takes_all_that_was_taken_breaks_nothing(old: dict[str, Any], new: dict[str, Any]):
    assert breaking(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (of(a=TEXT), of(a=NUMBER), "/a may not be string any more"),
        (of(a=NUMBER), of(a=INTEGER), "/a may not be number any more"),
        (of(a=TEXT), {**of(a=TEXT), "required": ["a"]}, "/a is required now"),
        (of(a=of(b=TEXT)), of(a={**of(b=TEXT), "required": ["b"]}), "/a/b is required now"),
        (of(a={"enum": [1, 2]}), of(a={"enum": [1]}), "/a may have fewer values"),
        (of(a=TEXT), of(a={**TEXT, "enum": ["x"]}), "/a may have fewer values"),
        (of(a=TEXT), of(a={**TEXT, "maxLength": 9}), "/a has a tighter maxLength"),
        (of(a={**NUMBER, "minimum": 1}), of(a={**NUMBER, "minimum": 2}), "/a has a tighter minimum"),
        (of(a=TEXT), {**of(), "additionalProperties": False}, "/a may not be there any more"),
        (of(a=TEXT), of(a={**TEXT, "pattern": "^x"}), "/a has another pattern"),
        (of(a={"items": NUMBER}), of(a={"items": INTEGER}), "/a/* may not be number any more"),
        (of(a={"anyOf": [TEXT]}), of(a={"anyOf": [NUMBER]}), "/a has another anyOf"),
        ({}, {"type": "object"}, "/ may not be array or boolean or"),
    ],
)
def test_what_may_refuse_what_was_taken_is_said_with_its_place(old: dict[str, Any], new: dict[str, Any], sentence: str):
    assert any(found.startswith(sentence) for found in breaking(old, new))


_LEAVES = st.sampled_from(
    [
        *(TEXT, NUMBER, INTEGER, {}, {"type": ["string", "null"]}, {"enum": [1, "x"]}, {**TEXT, "maxLength": 1}),
        *({**NUMBER, "minimum": 1}, {"const": 1}, {"type": "array", "items": INTEGER}),
    ]
)
_SCHEMAS = st.builds(
    lambda properties, required, closed: {
        **of(**properties),
        "required": [name for name in required if name in properties],
        **({"additionalProperties": False} if closed else {}),
    },
    st.dictionaries(st.sampled_from("ab"), _LEAVES),
    st.lists(st.sampled_from("ab"), unique=True),
    st.booleans(),
)
_VALUES = st.dictionaries(st.sampled_from("ab"), st.sampled_from([1, 2, 0.5, "x", "long", None, [1], [0.5], {}]))


@given(_SCHEMAS, _SCHEMAS, _VALUES)
def test_what_breaks_nothing_takes_every_value_that_the_old_one_took(
    old: dict[str, Any], new: dict[str, Any], value: dict[str, Any]
):
    named = old["properties"].keys() >= value.keys()  # what no schema named may be described anew
    if named and not breaking(old, new) and jsonschema_rs.is_valid(old, value):
        assert jsonschema_rs.is_valid(new, value)
