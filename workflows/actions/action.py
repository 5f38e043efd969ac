"""What an action is. This and `workflows.actions.testing` are all that a user's own package needs to import."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, InstanceOf

from schemas.events import AcceptedEvent, IdentifiedEvent, ValidEvent
from workflows.commands import Command
from workflows.conditions import Condition, ConditionError, Context
from workflows.profile import ProfileState
from workflows.segments import profile_variables

C = TypeVar("C", bound=BaseModel)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _compile(source: Any) -> Condition:
    if not isinstance(source, str):
        raise ValueError("a CEL expression is written as a string")
    try:
        return Condition(source)
    except ConditionError as error:
        raise ValueError(f"not a usable CEL expression: {error}") from error


#: A field of an action's settings that holds CEL, compiled when the definition is loaded.
Expression = Annotated[InstanceOf[Condition], BeforeValidator(_compile)]


class Config(BaseModel):
    """Base of actions' settings. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Run:
    """What an action may look at: the event, its properties, and the profile as earlier nodes left it."""

    def __init__(self, event: AcceptedEvent, profile: ProfileState) -> None:
        self.event, self.profile = event, profile
        self.at = microseconds(event.occurred_at)
        self._properties = _Properties(event)
        # Nothing in here refers to this object: what a run leaves behind is gone with it, without a garbage collection.
        self.context = Context(
            {
                "event": partial(event_variables, event, self._properties),
                "profile": partial(_profile_variables, event, profile),
            }
        )

    @property
    def properties(self) -> dict[str, Any]:
        """The event's properties, parsed when first asked for."""
        return self._properties()

    def profile_changed(self) -> None:
        """Conditions that come now must see the profile as it is now."""
        self.context.changed("profile")


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
    """What an action decided: the port to leave by, and commands."""

    port: str = "out"
    commands: list[Command] = []


class Action(ABC, Generic[C]):
    """One kind of node. Its docstring is its documentation. It decides; it never does."""

    #: What workflow definitions call it.
    name: ClassVar[str]
    #: The settings' model.
    Config: ClassVar[type[BaseModel]] = Config
    #: The ways out; the first is where `then: [...]` leads. Every action also has `error`.
    ports: ClassVar[tuple[str, ...]] = ("out",)

    @abstractmethod
    def run(self, config: C, run: Run) -> Outcome:
        """Decide. May raise: the node then leaves by its port `error`."""


def event_variables(event: ValidEvent, properties: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The variable `event` of conditions: id, type, source, session, time, properties, context, and the traits that its
    source looks up."""
    return {
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "session": event.session or "",
        "time": event.occurred_at,
        "properties": properties(),
        "context": msgspec.json.decode(event.context),
        "traits": event.traits if isinstance(event, IdentifiedEvent) else {},
    }


def microseconds(time: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1)


Registry = Mapping[str, Action[Any]]
