"""What people define, in YAML: sources, event types, identification points, rules, workflows, segments, destinations.

A definition is addressed by `kind/id`. Conditions are CEL; workflows/conditions.py compiles them.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter

from schemas.limits import MAX_CONDITION_CHARS, MAX_ID_CHARS
from schemas.payload import normalise_type


def _event_type(name: str) -> str:
    normal = normalise_type(name)
    if not normal:
        raise ValueError("not an event type's name (letters, digits, - _ . : and spaces, at most 100)")
    return normal


Id = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$", max_length=MAX_ID_CHARS)]
#: Part of a Kafka topic's name, where `.` and `_` collide in metrics.
TopicPart = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=MAX_ID_CHARS)]
EventType = Annotated[str, AfterValidator(_event_type)]
Condition = Annotated[str, Field(min_length=1, max_length=MAX_CONDITION_CHARS)]
#: A dotted path into an event's properties, as `customer.id`.
Path = Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=500)]


class Definition(BaseModel):
    """What all definitions share. Unknown fields are refused: a typing error must not pass in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    kind: str
    id: Id
    description: str = ""

    @property
    def key(self) -> str:
        """The definition's address, and its key in the topic `config`."""
        return f"{self.kind}/{self.id}"


class Source(Definition):
    """Where payloads may come from. Its id is what a payload's `source.id` must say."""

    kind: Literal["source"] = "source"
    enabled: bool = True
    #: Ways in that it may use: the door (http), or records written straight to `tracks` (kafka).
    bridges: tuple[Literal["http", "kafka"], ...] = ("http", "kafka")
    #: Its events are processed and counted; their content is not stored, nor archived.
    ephemeral: bool = False
    #: Keep its payloads in the archive, byte for byte.
    archive: bool = True
    #: Profile ids that the client makes up are used (mapped); else ids that are not ours are replaced.
    client_profile_ids: bool = False


class EventTypeDefinition(Definition):
    """What an event type's properties must look like. Event types without a definition are taken as they come."""

    kind: Literal["event-type"] = "event-type"
    id: EventType
    version: int = Field(default=1, ge=1)
    #: JSON Schema (draft 2020-12) of the properties.
    properties_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")


class Namespace(Definition):
    """A kind of identifier: a customer number, an e-mail. Undefined namespaces have these defaults."""

    kind: Literal["namespace"] = "namespace"
    normalise: Literal["trim", "lower", "digits"] = "trim"
    #: A person has at most one: profiles that have different ones are never merged, the conflict is reported.
    unique: bool = False


class Identifier(BaseModel):
    """A property that identifies someone."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    namespace: Id
    path: Path = Field(alias="property")


class IdentificationPoint(Definition):
    """For this event type (from this source, or any), these properties say who it is."""

    kind: Literal["identification-point"] = "identification-point"
    event_type: EventType
    source: Id | None = None
    identifiers: tuple[Identifier, ...] = Field(min_length=1)
    enabled: bool = True


class Rule(Definition):
    """For events of this type (from this source, or any) for which the condition holds: run these workflows."""

    kind: Literal["rule"] = "rule"
    event_type: EventType
    source: Id | None = None
    condition: Condition | None = None
    workflows: tuple[Id, ...] = Field(min_length=1)
    enabled: bool = True


class Node(BaseModel):
    """One node of a workflow: an action, its settings, and which nodes follow on which of its ports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str
    config: dict[str, Any] = Field(default_factory=dict)
    #: Nodes that follow on the action's main port, or a table of port to nodes.
    then: tuple[str, ...] | dict[str, tuple[str, ...]] = ()


class Workflow(Definition):
    """A graph of nodes without cycles. It begins at the nodes that none leads to."""

    kind: Literal["workflow"] = "workflow"
    nodes: dict[Id, Node] = Field(min_length=1, max_length=200)


class Segment(Definition):
    """A group of profiles: those for which the condition holds, and those that workflows put there."""

    kind: Literal["segment"] = "segment"
    condition: Condition | None = None
    enabled: bool = True


class Destination(Definition):
    """Where profile changes go: a webhook that dispatch calls, or just the topic `destination-<id>` to consume."""

    kind: Literal["destination"] = "destination"
    id: TopicPart
    type: Literal["webhook", "kafka"] = "kafka"
    #: Which changes; all where missing. Sends of workflows always go.
    condition: Condition | None = None
    #: What is sent: field name to CEL over `profile` and `change`; the whole change where empty.
    mapping: dict[str, Condition] = Field(default_factory=dict)
    url: HttpUrl | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    timeout_s: float = Field(default=10, gt=0, le=60)
    enabled: bool = True

    def model_post_init(self, context: Any, /) -> None:
        if (self.type == "webhook") != (self.url is not None):
            raise ValueError("a webhook needs a url, a kafka destination has none")


AnyDefinition = Annotated[
    Source | EventTypeDefinition | Namespace | IdentificationPoint | Rule | Workflow | Segment | Destination,
    Field(discriminator="kind"),
]
DEFINITION: TypeAdapter[AnyDefinition] = TypeAdapter(AnyDefinition)
