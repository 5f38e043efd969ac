"""What happens then: rules, workflows and segments."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from schemas.definitions.base import Condition, Definition, EventType, EventTypes, Id, Part


class Rule(Definition):
    """For events of this type (from this source, or any) for which the condition holds: run these workflows.

    An event's workflows run in the order of its rules: by priority, the highest first, then by id. Each runs once.
    """

    kind: Literal["rule"] = "rule"
    event_type: EventTypes
    source: Id | None = None
    #: What the profile must have agreed to.
    consents: tuple[Id, ...] = ()
    condition: Condition | None = None
    priority: int = Field(default=0, ge=-1000, le=1000)
    workflows: tuple[Id, ...] = Field(min_length=1)
    enabled: bool = True


def _ports_as_text(then: Any) -> Any:
    """YAML reads the ports of a condition as truth values."""
    if not isinstance(then, dict):
        return then
    return {str(port).lower() if isinstance(port, bool) else port: targets for port, targets in then.items()}


class Node(Part):
    """One node of a workflow: an action, its settings, and which nodes follow on which of its ports."""

    action: str
    config: dict[str, Any] = Field(default_factory=dict)
    #: Nodes that follow on the action's main port, or a table of port to nodes.
    then: Annotated[tuple[str, ...] | dict[str, tuple[str, ...]], BeforeValidator(_ports_as_text)] = ()
    #: Where it fails: only its own branch ends (behind its port `error` it goes on), or the whole run does.
    on_error: Literal["continue", "stop"] = "continue"


class Workflow(Definition):
    """A graph of nodes without cycles. It begins at the nodes that none leads to."""

    kind: Literal["workflow"] = "workflow"
    nodes: dict[Id, Node] = Field(min_length=1, max_length=200)
    #: Not in force: it stands beside the one that is, to be tried, until it is published.
    draft: bool = False

    @property
    def key(self) -> str:
        """A draft has a key of its own."""
        return f"workflow-draft/{self.id}" if self.draft else super().key


class ProfileMapping(Definition):
    """What every event of this type (from this source, or any) for which the condition holds changes of its profile.

    Each a table of name to CEL; fields that the event does not have are passed over. Mappings come before workflows.
    """

    kind: Literal["mapping"] = "mapping"
    event_type: EventType
    source: Id | None = None
    condition: Condition | None = None
    set: dict[str, Condition] = Field(default_factory=dict)
    set_if_empty: dict[str, Condition] = Field(default_factory=dict)
    increment: dict[str, Condition] = Field(default_factory=dict)
    decrement: dict[str, Condition] = Field(default_factory=dict)
    append: dict[str, Condition] = Field(default_factory=dict)
    remove: dict[str, Condition] = Field(default_factory=dict)
    enabled: bool = True


class Window(Definition):
    """How many events of a type a profile sent in the last `days` days, today included (UTC): `profile.windows.<id>` in
    the conditions of segments and destinations."""

    kind: Literal["window"] = "window"
    #: As conditions name it.
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
    event_type: EventType
    days: int = Field(ge=1, le=1000)


class Segment(Definition):
    """A group of profiles: those for which the condition holds, and those that workflows put there.

    With a `source`, events of it say who enters and who leaves: rules may want `segment-entered` and `segment-left`.
    """

    kind: Literal["segment"] = "segment"
    condition: Condition | None = None
    source: Id | None = None
    enabled: bool = True
