"""What a run keeps for its later nodes: values, lists, texts. All of it is `data.<name>` in their expressions."""

from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from workflows.actions.action import Action, Config, Expression, Outcome, Run
from workflows.commands import Keep
from workflows.templates import TextTemplate

#: As expressions name it.
Name = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=100)]
#: What texts may refer to.
ROOTS = ("event", "profile", "data")


def _is_template(text: str) -> str:
    TextTemplate(text, ROOTS)  # TemplateError is a ValueError: pydantic says where it stands
    return text


#: A text with paths in braces, as `Dear {profile.traits.name}`; `?` behind a path: nothing where nothing lies there.
Text = Annotated[str, Field(max_length=10_000), AfterValidator(_is_template)]


def values_of(run: Run) -> dict[str, Any]:
    """What texts are filled from."""
    return {root: run.context.variable(root) for root in ROOTS}


class SetDataConfig(Config):
    """`values`: name to CEL."""

    values: dict[Name, Expression] = Field(min_length=1)


class SetData(Action[SetDataConfig]):
    """Keeps values: copied from somewhere, or calculated. One that has no value is not kept."""

    name = "set-data"
    Config = SetDataConfig

    def run(self, config: SetDataConfig, run: Run) -> Outcome:
        return Outcome(commands=[Keep(name, value.value(run.context)) for name, value in config.values.items()])


class AppendData(Action[SetDataConfig]):
    """Appends values to lists that are kept, beginning them where there are none."""

    name = "append-data"
    Config = SetDataConfig

    def run(self, config: SetDataConfig, run: Run) -> Outcome:
        commands: list[Any] = []
        for name, expression in config.values.items():
            value = expression.value(run.context)
            if value is not None:
                kept = run.data.get(name, [])
                commands.append(Keep(name, [*(kept if isinstance(kept, list) else [kept]), value]))
        return Outcome(commands=commands)


class RemoveDataConfig(Config):
    """`names`: what to forget."""

    names: tuple[Name, ...] = Field(min_length=1)


class RemoveData(Action[RemoveDataConfig]):
    """Forgets values that were kept."""

    name = "remove-data"
    Config = RemoveDataConfig

    def run(self, config: RemoveDataConfig, run: Run) -> Outcome:
        return Outcome(commands=[Keep(name, None) for name in config.names])


class MapValuesConfig(Config):
    """`value`: CEL. `table`: its text to what is kept as `to`; `default` where the table does not have it."""

    value: Expression
    table: dict[str, Any] = Field(min_length=1, max_length=1000)
    default: Any = None
    to: Name


class MapValues(Action[MapValuesConfig]):
    """Looks a value up in a table. Leaves by `unknown` where the table does not have it; a default is kept then."""

    name = "map-values"
    Config = MapValuesConfig
    ports = ("out", "unknown")

    def run(self, config: MapValuesConfig, run: Run) -> Outcome:
        value = config.value.value(run.context)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if value is None or text not in config.table:
            return Outcome("unknown", [Keep(config.to, config.default)])
        return Outcome(commands=[Keep(config.to, config.table[text])])


class FillTemplateConfig(Config):
    """`text`, with paths in braces; kept as `to`."""

    text: Text
    to: Name


class FillTemplate(Action[FillTemplateConfig]):
    """Fills a text in: `Dear {profile.traits.name}`. Paths and nothing else: a text computes nothing. Leaves by
    `error` where a path leads nowhere, unless it ends in `?`."""

    name = "fill-template"
    Config = FillTemplateConfig

    def run(self, config: FillTemplateConfig, run: Run) -> Outcome:
        return Outcome(commands=[Keep(config.to, TextTemplate(config.text, ROOTS).fill(values_of(run)))])


class HideConfig(Config):
    """`value`: CEL. `how`: its SHA-256 in hex, or stars but for the last `shown` characters (for all of a text that is
    shorter than twice that). Kept as `to`."""

    value: Expression
    how: Literal["hash", "mask"]
    shown: int = Field(default=0, ge=0, le=10)
    to: Name


class Hide(Action[HideConfig]):
    """Makes of a value what may be passed on: a hash, as advertisers want of e-mail addresses (trimmed and lower-cased
    first), or a mask. A hash tells who has the value already that it is the same: it does not make it anonymous."""

    name = "hide"
    Config = HideConfig

    def run(self, config: HideConfig, run: Run) -> Outcome:
        value = config.value.value(run.context)
        if value is None:
            return Outcome(commands=[Keep(config.to, None)])
        text = str(value)
        if config.how == "hash":
            return Outcome(commands=[Keep(config.to, sha256(text.strip().lower().encode()).hexdigest())])
        shown = text[-config.shown :] if config.shown and len(text) >= 2 * config.shown else ""
        return Outcome(commands=[Keep(config.to, "*" * (len(text) - len(shown)) + shown)])
