"""What a run makes of its event: new events, whether a value changed, whether somebody is new."""

from typing import Literal

import msgspec
from pydantic import Field

from schemas.definitions.base import EventType, Id
from workflows.actions.action import Action, Config, Expression, Outcome, Run
from workflows.commands import Emit, SetTrait

_encode = msgspec.json.Encoder(order="sorted").encode


class EmitConfig(Config):
    """`type`: the new event's type. `properties`: name to CEL."""

    type: EventType
    properties: dict[str, Expression] = Field(default_factory=dict)


class EmitEvent(Action[EmitConfig]):
    """Makes a new event of the same source, session and profile. It travels the whole pipeline, once."""

    name = "emit-event"
    Config = EmitConfig

    def run(self, config: EmitConfig, run: Run) -> Outcome:
        properties = {name: expression.value(run.context) for name, expression in config.properties.items()}
        return Outcome(commands=[Emit(config.type, properties)])


class ValueChangedConfig(Config):
    """`value`: CEL. `trait`: where the profile keeps the last one."""

    value: Expression
    trait: Id


class ValueChanged(Action[ValueChangedConfig]):
    """Leaves by `changed` where a value is another than the last time somebody's run came here, or is there for the
    first time; else by `same`. A value that is missing is `same`."""

    name = "value-changed"
    Config = ValueChangedConfig
    ports = ("changed", "same")

    def run(self, config: ValueChangedConfig, run: Run) -> Outcome:
        value = config.value.value(run.context)
        known = run.profile.traits.get(config.trait)
        # As JSON: true is not 1.
        if value is None or (known is not None and _encode(known.value) == _encode(value)):
            return Outcome("same")
        return Outcome("changed", [SetTrait(config.trait, value)])


class IsNewConfig(Config):
    """`what`: profile or visit."""

    what: Literal["profile", "visit"]


class IsNew(Action[IsNewConfig]):
    """Leaves by `true` where this is the first event of the profile, or of the visit; else by `false`."""

    name = "is-new"
    Config = IsNewConfig
    ports = ("true", "false")

    def run(self, config: IsNewConfig, run: Run) -> Outcome:
        is_first = sum(run.event.counters.values()) == 1
        return Outcome("true" if (is_first if config.what == "profile" else run.event.opens_visit) else "false")
