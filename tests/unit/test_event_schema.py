"""Why properties are not what their event type's schema wants: said for whoever sent them, without what they sent."""

from typing import Any

import pytest

from schemas.definitions import DEFINITION
from schemas.definitions.inbound import EventTypeDefinition
from workflows.event_schema import EventSchema


def schema(**properties: Any) -> EventSchema:
    wanted = {"type": "object", "properties": properties, "required": ["id"], "additionalProperties": False}
    definition = DEFINITION.validate_python({"kind": "event-type", "id": "x", "schema": wanted})
    assert isinstance(definition, EventTypeDefinition)
    return EventSchema(definition)


@pytest.mark.parametrize(
    ("rule", "sent", "says"),
    [
        ({"minimum": 1}, 0, "minimum: 1"),
        ({"exclusiveMaximum": 2.5}, 4000, "exclusiveMaximum: 2.5"),
        ({"maxLength": 3}, "secret", "maxLength: 3"),
        ({"type": ["string", "null"]}, 4000, 'type: ["null", "string"]'),
        ({"format": "email"}, "secret", 'format: "email"'),
        ({"enum": ["a", "b"]}, "secret", "enum"),
        ({"const": "c"}, "secret", "const"),
        ({"pattern": "^x"}, "secret", "pattern"),
        ({"anyOf": [{"maxLength": 3}, {"type": "null"}]}, "secret", "anyOf"),
    ],
)
def test_a_reason_names_the_rule_and_its_limit_and_neither_what_was_sent_nor_what_else_may_be(
    rule: dict[str, Any], sent: Any, says: str
) -> None:
    (reason,) = schema(id={}, p=rule).reasons({"id": 1, "p": sent})
    said = ("schema_invalid", "/properties/p", f"does not satisfy properties/p/{says}")
    assert (reason.code, reason.path, reason.message) == said


def test_what_is_missing_or_too_much_is_told_too() -> None:
    (missing,) = schema(id={}).reasons({})
    assert (missing.path, missing.message) == ("/properties/id", "is required")
    (too_much,) = schema(id={}).reasons({"id": 1, "secret": 1})
    assert (too_much.path, too_much.message) == ("/properties", "does not satisfy additionalProperties")


def test_a_rule_of_a_schema_within_the_schema_is_told() -> None:
    within = {"$id": "https://example.com/within", "minProperties": 4}
    (reason,) = schema(id={"$ref": "https://example.com/within"}, other=within).reasons({"id": {}})
    assert (reason.path, reason.message) == ("/properties/id", "does not satisfy minProperties: 4")
