"""Where a run goes: start, condition, log."""

from pydantic import Field

from workflows.actions.action import Action, Config, Expression, Outcome, Run
from workflows.commands import Log


class Start(Action[Config]):
    """Where a workflow begins. Does nothing; it gives a graph one visible first node."""

    name = "start"

    def run(self, config: Config, run: Run) -> Outcome:
        return Outcome()


class ConditionConfig(Config):
    """`if`: CEL over `event` and `profile`."""

    when: Expression = Field(alias="if")


class Branch(Action[ConditionConfig]):
    """Leaves by `true` where the condition holds, else by `false`. An error in the condition is false, and recorded."""

    name = "condition"
    Config = ConditionConfig
    ports = ("true", "false")

    def run(self, config: ConditionConfig, run: Run) -> Outcome:
        return Outcome("true" if config.when.holds(run.context) else "false")


class LogConfig(Config):
    """`message`: a fixed text."""

    message: str = Field(max_length=500)


class LogMessage(Action[LogConfig]):
    """Notes a fixed text in the worker's log, with the ids of workflow and event."""

    name = "log"
    Config = LogConfig

    def run(self, config: LogConfig, run: Run) -> Outcome:
        return Outcome(commands=[Log(config.message)])
