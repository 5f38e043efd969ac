"""What an action is. This and `workflows.actions.testing` are all that a user's own package needs to import."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, InstanceOf, WithJsonSchema

from schemas.events import AcceptedEvent, Answer, IdentifiedEvent, ValidEvent
from workflows.commands import Command
from workflows.conditions import Condition, ConditionError, Context
from workflows.profile import ProfileState, place_of
from workflows.segments import profile_variables
from workflows.waiting import Wait

C = TypeVar("C", bound=BaseModel)
#: The port of every action by which it leaves where it failed.
ERROR = "error"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _compile(source: Any) -> Condition:
    if not isinstance(source, str):
        raise ValueError("a CEL expression is written as a string")
    try:
        return Condition(source)
    except ConditionError as error:
        raise ValueError(f"not a usable CEL expression: {error}") from error


#: A field of an action's settings that holds CEL, compiled when the definition is loaded.
Expression = Annotated[
    InstanceOf[Condition], BeforeValidator(_compile), WithJsonSchema({"type": "string", "format": "cel"})
]


class Config(BaseModel):
    """Base of actions' settings. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Run:
    """What an action may look at: the event, its properties, and the profile as earlier nodes left it."""

    def __init__(
        self,
        event: AcceptedEvent,
        profile: ProfileState,
        data: dict[str, Any] | None = None,
        resumed_at: datetime | None = None,
    ) -> None:
        """`data`: what earlier nodes have kept. `resumed_at`: when a run that had waited goes on, by our clock."""
        self.event, self.profile = event, profile
        #: What nodes keep for those after them; `data.<name>` in expressions.
        self.data = {} if data is None else data
        #: Our clock: waits begin here.
        self.now = event.received_at if resumed_at is None else resumed_at
        #: The time that traits get; the same in microseconds since 1970; and what decides between equal ones.
        self.changed_at = event.occurred_at if resumed_at is None else max(event.occurred_at, resumed_at)
        self.at = microseconds(self.changed_at)
        self.place = place_of(event.origin, self.changed_at == event.occurred_at == event.received_at)
        #: Which node of which workflow runs now.
        self.workflow = self.node = ""
        #: For an action that joins: whether every node that could lead to it did.
        self.led_by_all = True
        self._properties = _Properties(event)
        # Nothing in here refers to this object: what a run leaves behind is gone with it, without a garbage collection.
        self.context = Context(
            {
                "event": partial(event_variables, event, self._properties),
                "profile": partial(_profile_variables, event, profile),
                "data": partial(_same, self.data),
            },
            {"event": event_heads(event)},
        )

    @property
    def properties(self) -> dict[str, Any]:
        """The event's properties, parsed when first asked for."""
        return self._properties()

    def keep(self, name: str, value: Any) -> None:
        """Nodes that come now see this value as `data.<name>`; None: nothing."""
        if value is None:
            self.data.pop(name, None)
        else:
            self.data[name] = value
        self.context.changed("data")

    def profile_changed(self) -> None:
        """Conditions that come now must see the profile as it is now."""
        self.context.changed("profile")


def _same(data: dict[str, Any]) -> dict[str, Any]:
    return data


class _Properties:
    """An event's properties, parsed when first asked for."""

    def __init__(self, event: AcceptedEvent) -> None:
        self._event = event
        self._parsed: dict[str, Any] | None = None

    def __call__(self) -> dict[str, Any]:
        if self._parsed is None:
            self._parsed = msgspec.json.decode(self._event.properties)
        return self._parsed or {}


def _profile_variables(event: AcceptedEvent, profile: ProfileState) -> dict[str, Any]:
    return profile_variables(
        event.profile or "", profile.values(), profile.totals, event.counters, consents=event.consents
    )


class Outcome(msgspec.Struct):
    """What an action decided: the port to leave by, and commands; or what to wait for before it leaves; or an error's
    name (a word, never a value), with which it leaves by `error`."""

    port: str = "out"
    commands: list[Command] = []
    wait: Wait | None = None
    error: str = ""
    #: The run ends here, its other branches too.
    ends: bool = False


class Action(ABC, Generic[C]):
    """One kind of node. Its docstring is its documentation. It decides; it never does."""

    #: What workflow definitions call it.
    name: ClassVar[str]
    #: The settings' model.
    Config: ClassVar[type[BaseModel]] = Config
    #: The ways out; the first is where `then: [...]` leads. Every action also has `error`.
    ports: ClassVar[tuple[str, ...]] = ("out",)
    #: Whether it looks at `run.led_by_all`.
    joins: ClassVar[bool] = False

    @abstractmethod
    def run(self, config: C, run: Run) -> Outcome:
        """Decide. May raise: the node then leaves by its port `error`."""

    def resume(self, config: C, run: Run, answer: Answer) -> Outcome:
        """Decide again, when what it waited for has come: its value is in `run.data` under the node's name already. By
        the port `timeout`, where there is one, when time was over first; else by the first port."""
        return Outcome("timeout" if answer.is_late and "timeout" in self.ports else self.ports[0])

    def takes(self, config: C, run: Run, other: Run) -> bool:
        """Whether an event that came is the one that it waits for. `run` is its own, `other` looks at what came."""
        return True

    def ports_of(self, config: C) -> tuple[str, ...]:
        """The ports of a node with these settings."""
        return self.ports


def event_heads(event: ValidEvent) -> dict[str, Any]:
    """Those parts of the variable `event` for which nothing need be parsed."""
    return {
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "session": event.session or "",
        "time": event.occurred_at,
    }


def event_variables(event: ValidEvent, properties: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The variable `event` of conditions: id, type, source, session, time, properties, context, and the traits that its
    source looks up."""
    return event_heads(event) | {
        "properties": properties(),
        "context": msgspec.json.decode(event.context),
        "traits": event.traits if isinstance(event, IdentifiedEvent) else {},
    }


def microseconds(time: datetime) -> int:
    """Microseconds since 1970, exactly."""
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


Registry = Mapping[str, Action[Any]]
