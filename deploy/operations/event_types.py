"""Event types that are to be applied, beside those in force: what would be refused that is taken now."""

from collections.abc import Mapping

import msgspec

from deploy.definitions import in_force
from deploy.operations.reports import rows
from processors.storage.database import Connection
from processors.storage.definitions import DefinitionStore
from schemas.definitions import DEFINITION, AnyDefinition
from schemas.definitions.inbound import EventTypeDefinition
from workflows.compatibility import breaking
from workflows.event_schema import EventSchema

#: Recorded events of each type that are looked at, the latest.
LOOKED_AT = 1000


class Checked(msgspec.Struct):
    """One event type. `state`: new, same, compatible, or breaking."""

    id: str
    state: str
    version: int
    version_in_force: int | None = None
    #: What may be refused.
    breaks: list[str] = []
    #: So many of the latest events that were recorded were looked at, and so many would be refused.
    looked_at: int = 0
    refused: int = 0

    @property
    def is_wrong(self) -> bool:
        """Whether it breaks what is in force under the same version."""
        return self.state == "breaking" and self.version <= (self.version_in_force or 0)


async def check_event_types(connection: Connection, wanted: Mapping[str, AnyDefinition]) -> list[Checked]:
    """Each event type of these definitions, by name."""
    current = await DefinitionStore(connection).current()
    known = {key: DEFINITION.validate_python(body) for key, body in current.items() if key.startswith("event-type/")}
    types = [one for one in wanted.values() if isinstance(one, EventTypeDefinition)]
    return [await _check(connection, one, known.get(one.key)) for one in sorted(types, key=lambda one: one.id)]


async def _check(connection: Connection, new: EventTypeDefinition, old: AnyDefinition | None) -> Checked:
    before = old if isinstance(old, EventTypeDefinition) else None
    # Without a definition everything was taken.
    breaks = breaking(before.properties_schema if before else {}, new.properties_schema)
    state = "new" if before is None else "breaking" if breaks else "compatible"
    if before is not None and before.properties_schema == new.properties_schema:
        state = "same"
    checked = Checked(new.id, state, new.version, before.version if before else None, breaks)
    if state != "same":
        found = await rows(
            connection,
            "select properties from events where type = %(type)s and properties is not null "
            "order by received_at desc limit %(limit)s",
            {"type": new.id, "limit": LOOKED_AT},
        )
        schema = EventSchema(new)
        checked.looked_at = len(found)
        checked.refused = sum(bool(schema.reasons(row["properties"])) for row in found)
    return checked


async def known_event_types(connection: Connection) -> list[tuple[str, int, str]]:
    """(name, version, description) of the event types in force."""
    definitions = await in_force(connection)
    return [(id, schema.version, schema.description) for id, schema in sorted(definitions.schemas.items())]
