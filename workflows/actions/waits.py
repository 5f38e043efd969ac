"""What a run waits for: time, or another event. Meanwhile it is parked in PostgreSQL and costs nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import Field, model_validator

from schemas.definitions.base import EventTypes
from schemas.events import Answer
from workflows.actions.action import Action, Config, Expression, Outcome, Run
from workflows.waiting import ForEvent, Until

#: Longer waits are of somebody who has forgotten them.
MAX_WAIT = timedelta(days=400)


class Span(Config):
    """A length of time: days, hours, minutes and seconds, added."""

    days: float = Field(default=0, ge=0, le=MAX_WAIT.days)
    hours: float = Field(default=0, ge=0, le=MAX_WAIT.days * 24)
    minutes: float = Field(default=0, ge=0, le=MAX_WAIT.days * 24 * 60)
    seconds: float = Field(default=0, ge=0, le=MAX_WAIT.total_seconds())

    @property
    def length(self) -> timedelta:
        return timedelta(days=self.days, hours=self.hours, minutes=self.minutes, seconds=self.seconds)

    @model_validator(mode="after")
    def _is_sane(self) -> Self:
        if self.length > MAX_WAIT:
            raise ValueError(f"at most {MAX_WAIT.days} days")
        return self


class WaitConfig(Span):
    """How long, or `until`: CEL whose value is a time, or a text that is one (RFC 3339; UTC where it does not say)."""

    until: Expression | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.until is None) == (not self.length):
            raise ValueError("either days, hours, minutes or seconds, or until")
        return self


class WaitForTime(Action[WaitConfig]):
    """Waits for a time, or until a date; one that is past does not wait. A run that is made again from the archive does
    not wait for what is past either."""

    name = "wait"
    Config = WaitConfig

    def run(self, config: WaitConfig, run: Run) -> Outcome:
        if config.until is None:
            return Outcome(wait=Until(run.now + config.length))
        at = _time(config.until.value(run.context))
        if at is None:
            return Outcome(error="no_time")
        if at > run.now + MAX_WAIT:
            return Outcome(error="too_far_away")
        return Outcome() if at <= run.now else Outcome(wait=Until(at))


class WaitForEventConfig(Span):
    """`types`: event types (`order-*` too). `if`: CEL over the event that came (`event`), the profile, and `data`.
    Then how long, at most."""

    types: tuple[EventTypes, ...] = Field(min_length=1, max_length=20)
    when: Expression | None = Field(default=None, alias="if")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if not self.length:
            raise ValueError("say how long at most: days, hours, minutes or seconds")
        return self


class WaitForEvent(Action[WaitForEventConfig]):
    """Waits for another event of the same person. Leaves by `came`, with the event's id, type, time (a text) and
    properties as `data.<node>`; by `timeout` where it did not come in time."""

    name = "wait-for-event"
    Config = WaitForEventConfig
    ports = ("came", "timeout")

    def run(self, config: WaitForEventConfig, run: Run) -> Outcome:
        return Outcome(wait=ForEvent(config.types, run.now + config.length))

    def takes(self, config: WaitForEventConfig, run: Run, other: Run) -> bool:
        return config.when is None or config.when.holds(other.context)


def came(other: Run) -> Answer:
    """What a run that waited for this event is told."""
    event = other.event
    at = event.occurred_at.isoformat()
    return Answer({"id": event.id, "type": event.type, "time": at, "properties": other.properties})


def _time(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        return None
