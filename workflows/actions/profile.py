"""What a run does to the profile: copy data, update, segments, merge by a trait."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field

from schemas.definitions.base import Id, Path
from schemas.definitions.consent import CONSENT_UPDATE
from schemas.events import Answer
from workflows.actions.action import Action, Config, Expression, Outcome, Run
from workflows.commands import (
    AppendToTrait,
    Command,
    Emit,
    Increment,
    MergeBy,
    RemoveFromTrait,
    SaidBy,
    SetMembership,
    SetTrait,
    SetTraitIfEmpty,
)
from workflows.conditions import Condition
from workflows.identifiers import identifier_value, value_at
from workflows.waiting import ProfileCall


class CopyConfig(Config):
    """`traits`: trait name to the dotted path of a property."""

    traits: dict[str, Path] = Field(min_length=1)


class CopyToProfile(Action[CopyConfig]):
    """Copies properties of the event to traits of the profile. A property that is missing is passed over."""

    name = "copy-to-profile"
    Config = CopyConfig

    def run(self, config: CopyConfig, run: Run) -> Outcome:
        found = {trait: value_at(run.properties, path) for trait, path in config.traits.items()}
        return Outcome(commands=[SetTrait(trait, value) for trait, value in found.items() if value is not None])


class UpdateConfig(Config):
    """Each a table of name to CEL: `set`, `set_if_empty`, `append` and `remove` name traits, `increment` and
    `decrement` totals."""

    set: dict[str, Expression] = Field(default_factory=dict)
    set_if_empty: dict[str, Expression] = Field(default_factory=dict)
    increment: dict[str, Expression] = Field(default_factory=dict)
    decrement: dict[str, Expression] = Field(default_factory=dict)
    append: dict[str, Expression] = Field(default_factory=dict)
    remove: dict[str, Expression] = Field(default_factory=dict)

    @cached_property
    def changes(self) -> tuple[tuple[Callable[[str, Any], Command], str, Condition], ...]:
        """In order: what makes the command of a value, the field, and what gives the value."""
        return tuple((make, name, value) for table, make in _TABLES for name, value in getattr(self, table).items())


class UpdateProfile(Action[UpdateConfig]):
    """Sets traits, adds to totals and takes from them, appends to and removes from traits that are lists.

    Totals are exact decimals. An expression without a value changes nothing and is recorded.
    """

    name = "update-profile"
    Config = UpdateConfig
    #: A field that the event does not have is recorded too.
    note_missing: ClassVar[bool] = True

    def run(self, config: UpdateConfig, run: Run) -> Outcome:
        commands: list[Command] = []
        for make, name, expression in config.changes:
            value = expression.value(run.context, self.note_missing)
            if value is not None:
                commands.append(make(name, value))
        return Outcome(commands=commands)


class MapToProfile(UpdateProfile):
    """As update-profile; fields that the event does not have are passed over. What mappings are made of."""

    name = "map-to-profile"
    note_missing = False


#: What a total may grow by at once: sums of such ones stay numbers that others can read.
MAX_STEP = 1e100


def _increment(name: str, value: Any) -> Increment:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("a total grows by a number")
    if not -MAX_STEP <= value <= MAX_STEP:
        raise ValueError("more than a total grows by at once")
    # Of a float the shortest decimal that reads back as it: what the client wrote.
    return Increment(name, Decimal(value if isinstance(value, int) else str(value)))


def _decrement(name: str, value: Any) -> Increment:
    return Increment(name, -_increment(name, value).by)


_TABLES: Sequence[tuple[str, Callable[[str, Any], Command]]] = (
    ("set", SetTrait),
    ("set_if_empty", SetTraitIfEmpty),
    ("increment", _increment),
    ("decrement", _decrement),
    ("append", AppendToTrait),
    ("remove", RemoveFromTrait),
)


class SegmentConfig(Config):
    """`segment`: its key. `do`: add or remove. `origin`: who says so, this workflow or a model that it asked."""

    segment: Id
    do: Literal["add", "remove"] = "add"
    origin: SaidBy = "workflow"


class ChangeSegment(Action[SegmentConfig]):
    """Puts the profile into a segment, or takes it out again. Memberships of other origins stay: by the segment's own
    condition, and what a model said where a workflow speaks."""

    name = "segment"
    Config = SegmentConfig

    def run(self, config: SegmentConfig, run: Run) -> Outcome:
        return Outcome(commands=[SetMembership(config.segment, config.do == "add", config.origin)])


class MergeConfig(Config):
    """`trait`: whose value names the person; it becomes a namespace of that name."""

    trait: Id


class MergeProfiles(Action[MergeConfig]):
    """Asks for a merge with every profile that has the same value in this trait and asked the same."""

    name = "merge-profiles"
    Config = MergeConfig

    def run(self, config: MergeConfig, run: Run) -> Outcome:
        trait = run.profile.traits.get(config.trait)
        value = identifier_value(trait.value, "trim") if trait else None
        return Outcome(commands=[MergeBy(config.trait, value)] if value else [])


class InterestConfig(Config):
    """`name`: CEL, a text as `sport`. `by`: CEL, how much more, 1 where it is missing; negative: less."""

    name: Expression
    by: Expression | None = None


class Interest(Action[InterestConfig]):
    """Adds to an interest of the profile: the total `interests.<name>`."""

    name = "interest"
    Config = InterestConfig

    def run(self, config: InterestConfig, run: Run) -> Outcome:
        name, by = config.name.value(run.context), 1 if config.by is None else config.by.value(run.context)
        if not isinstance(name, str) or not 0 < len(name) <= MAX_INTEREST_CHARS:
            return Outcome(error="no_interest")
        return Outcome(commands=[_increment(f"interests.{name}", by)])


#: The name of an interest comes out of events.
MAX_INTEREST_CHARS = 100


class ConsentConfig(Config):
    """`consent`: its id. `do`: grant or revoke."""

    consent: Id
    do: Literal["grant", "revoke"]


class ChangeConsent(Action[ConsentConfig]):
    """Says that the person has given a consent, or taken it back: an event `consent-update` of the same profile, which
    has its effect as any other such."""

    name = "consent"
    Config = ConsentConfig

    def run(self, config: ConsentConfig, run: Run) -> Outcome:
        return Outcome(commands=[Emit(CONSENT_UPDATE, {"consents": {config.consent: config.do == "grant"}})])


class LoadProfileConfig(Config):
    """`namespace`: of the identifier. `value`: CEL."""

    namespace: Id
    value: Expression


class LoadProfile(Action[LoadProfileConfig]):
    """Looks another profile up by an identifier. What is known of it is `data.<node>`: `id`, `traits` (no private
    ones), `totals`, `segments`. Leaves by `unknown` where nobody has the identifier."""

    name = "load-profile"
    Config = LoadProfileConfig
    ports = ("out", "unknown")

    def run(self, config: LoadProfileConfig, run: Run) -> Outcome:
        value = config.value.value(run.context)
        if not isinstance(value, str | int):
            return Outcome("unknown")
        return Outcome(wait=ProfileCall(config.namespace, str(value)))

    def resume(self, config: LoadProfileConfig, run: Run, answer: Answer) -> Outcome:
        return Outcome("unknown" if answer.value is None else "out")
