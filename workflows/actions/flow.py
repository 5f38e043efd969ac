"""Where a run goes: start, end, condition, switch, split, join, log."""

from hashlib import blake2b
from typing import Annotated, Self

from pydantic import Field, model_validator

from workflows.actions.action import ERROR, Action, Config, Expression, Outcome, Run
from workflows.commands import Log

#: A port that a node's settings name.
Port = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$", max_length=50)]


class Start(Action[Config]):
    """Where a workflow begins. Does nothing; it gives a graph one visible first node."""

    name = "start"

    def run(self, config: Config, run: Run) -> Outcome:
        return Outcome()


class End(Action[Config]):
    """Ends the run: branches that wait, or have not come so far, end too. (A branch that leads nowhere ends by
    itself.)"""

    name = "end"

    def run(self, config: Config, run: Run) -> Outcome:
        return Outcome(ends=True)


class ConditionConfig(Config):
    """`if`: CEL over `event`, `profile` and `data`."""

    when: Expression = Field(alias="if")


class Branch(Action[ConditionConfig]):
    """Leaves by `true` where the condition holds, else by `false`. An error in the condition is false, and recorded."""

    name = "condition"
    Config = ConditionConfig
    ports = ("true", "false")

    def run(self, config: ConditionConfig, run: Run) -> Outcome:
        return Outcome("true" if config.when.holds(run.context) else "false")


class Case(Config):
    """`to`: the port. `if`: CEL."""

    to: Port
    when: Expression = Field(alias="if")


class SwitchConfig(Config):
    """`cases`: a list of `{to: PORT, if: CEL}`, tried in their order."""

    cases: tuple[Case, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _are_free(self) -> Self:
        if any(case.to in (ERROR, "default") for case in self.cases):
            raise ValueError("the ports error and default are there already")
        return self


class Switch(Action[SwitchConfig]):
    """Leaves by the port of the first case that holds, by `default` where none does."""

    name = "switch"
    Config = SwitchConfig
    ports = ("default",)

    def ports_of(self, config: SwitchConfig) -> tuple[str, ...]:
        return (*self.ports, *dict.fromkeys(case.to for case in config.cases))

    def run(self, config: SwitchConfig, run: Run) -> Outcome:
        holding = (case.to for case in config.cases if case.when.holds(run.context))
        return Outcome(next(holding, "default"))


class SplitConfig(Config):
    """`shares`: port to its share in percent; together they are 100."""

    shares: dict[Port, Annotated[float, Field(gt=0, le=100)]] = Field(min_length=2, max_length=20)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if abs(sum(self.shares.values()) - 100) > 0.001:
            raise ValueError("the shares are 100 together")
        if ERROR in self.shares:
            raise ValueError("the port error is there already")
        return self


class Split(Action[SplitConfig]):
    """Divides people by percentages. The same person always takes the same way; splits of different nodes divide
    independently of each other. Who has no profile is divided by event."""

    name = "split"
    Config = SplitConfig

    def ports_of(self, config: SplitConfig) -> tuple[str, ...]:
        return tuple(sorted(config.shares))

    def run(self, config: SplitConfig, run: Run) -> Outcome:
        whose = f"{run.workflow}\0{run.node}\0{run.event.profile or run.event.id}"
        place = int.from_bytes(blake2b(whose.encode(), digest_size=8).digest()) / 2**64 * 100
        for port, share in sorted(config.shares.items()):  # stored definitions have no order
            place -= share
            if place < 0:
                return Outcome(port)
        return Outcome(port)


class JoinConfig(Config):
    """`first`: do not wait for branches that still wait themselves."""

    first: bool = False


class Join(Action[JoinConfig]):
    """Where branches meet. Leaves by `all` where every node that could lead here did, by `some` where some ended or
    took another way. Any node waits for all branches that may lead to it; with `first` this one goes on with the first
    that comes, once."""

    name = "join"
    Config = JoinConfig
    ports = ("all", "some")
    joins = True

    def run(self, config: JoinConfig, run: Run) -> Outcome:
        return Outcome("all" if run.led_by_all else "some")


class LogConfig(Config):
    """`message`: a fixed text."""

    message: str = Field(max_length=500)


class LogMessage(Action[LogConfig]):
    """Notes a fixed text in the worker's log, with the ids of workflow and event."""

    name = "log"
    Config = LogConfig

    def run(self, config: LogConfig, run: Run) -> Outcome:
        return Outcome(commands=[Log(config.message)])
