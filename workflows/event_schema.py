"""What an event type's properties must look like, compiled."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from schemas.definitions.inbound import EventTypeDefinition
from schemas.failures import Reason

#: Reasons reported for one event's properties at most.
MAX_REASONS = 10


class EventSchemaError(ValueError):
    """What a definition says is no JSON Schema. The message says why."""


class EventSchema:
    """An event type's JSON Schema. Patterns run on a linear engine; nothing is fetched."""

    def __init__(self, definition: EventTypeDefinition) -> None:
        """Raises EventSchemaError for what is no JSON Schema (draft 2020-12) or refers to another document."""
        self.version, self.description = definition.version, definition.description
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                definition.properties_schema,
                pattern_options=jsonschema_rs.RegexOptions(),
                validate_formats=True,
                retriever=_refuse_reference,
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise EventSchemaError(f"schema: {str(error).splitlines()[0]}") from error

    def reasons(self, properties: Mapping[str, Any]) -> list[Reason]:
        """Why these properties are not this event type's; paths and rules, never values."""
        if self._validator.is_valid(properties):
            return []
        found = []
        for error in self._validator.iter_errors(properties):
            path = "/properties" + "".join(f"/{_escaped(part)}" for part in error.instance_path)
            # The name of a missing property is the schema's, not the sender's: it may be said.
            if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
                found.append(Reason("schema_invalid", f"{path}/{_escaped(error.kind.property)}", "is required"))
            else:
                found.append(Reason("schema_invalid", path, f"does not satisfy {_rule(error)}"))
            if len(found) == MAX_REASONS:
                break
        return found


def _rule(error: jsonschema_rs.ValidationError) -> str:
    """Its path in the schema, and what it wants where that is a limit, types, a format: no list of what may be sent."""
    rule = "/".join(map(str, error.schema_path))
    for wanted in ("limit", "types", "format"):
        if hasattr(error.kind, wanted):
            return f"{rule}: {json.dumps(getattr(error.kind, wanted), default=str)}"
    return rule


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _refuse_reference(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri}")
