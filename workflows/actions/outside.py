"""What a run sends on: new events, and messages to destinations."""

from typing import Any

from pydantic import Field

from schemas.definitions.base import EventType, TopicPart
from workflows.actions.action import Action, Config, Expression, Outcome, Run
from workflows.commands import Emit, SendTo
from workflows.conditions import Condition


class EmitConfig(Config):
    """`type`: the new event's type. `properties`: name to CEL."""

    type: EventType
    properties: dict[str, Expression] = Field(default_factory=dict)


class EmitEvent(Action[EmitConfig]):
    """Makes a new event of the same source, session and profile. It travels the whole pipeline, once."""

    name = "emit-event"
    Config = EmitConfig

    def run(self, config: EmitConfig, run: Run) -> Outcome:
        return Outcome(commands=[Emit(config.type, _values(config.properties, run))])


class SendConfig(Config):
    """`destination`: its id. `properties`: name to CEL, sent beside the profile."""

    destination: TopicPart
    properties: dict[str, Expression] = Field(default_factory=dict)


class SendToDestination(Action[SendConfig]):
    """Sends to a destination, in order with the profile's changes, with an id that stays the same when repeated."""

    name = "send-to-destination"
    Config = SendConfig

    def run(self, config: SendConfig, run: Run) -> Outcome:
        return Outcome(commands=[SendTo(config.destination, _values(config.properties, run))])


def _values(table: dict[str, Condition], run: Run) -> dict[str, Any]:
    return {name: expression.value(run.context) for name, expression in table.items()}
