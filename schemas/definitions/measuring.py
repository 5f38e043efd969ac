"""What is measured live, and what alerts say of it."""

from typing import Any, Literal

from pydantic import Field

from schemas.definitions.base import Condition, Definition, EventTypes, Id, Path


class Metric(Definition):
    """Events of these types (from a source, or any) for which the condition holds, counted in windows of time by our
    clock, one after another."""

    kind: Literal["metric"] = "metric"
    event_type: EventTypes
    source: Id | None = None
    condition: Condition | None = None
    window_s: int = Field(default=60, ge=1, le=86_400)
    #: The property by whose values it is divided.
    by: Path | None = None
    #: The property that is added up, where it is a number.
    sum: Path | None = None
    #: Different people are counted, too.
    people: bool = False
    #: Windows are kept for so long.
    keep_hours: int = Field(default=48, ge=1, le=10_000)
    enabled: bool = True


class Alert(Definition):
    """Watches a metric, window by window. Where it holds, and where it holds no more, an event of its source says so:
    `alert-raised` and `alert-cleared`, which rules may want."""

    kind: Literal["alert"] = "alert"
    metric: Id
    #: Under which its events are sent.
    source: Id
    #: What is looked at.
    of: Literal["events", "sum", "people"] = "events"
    #: Only this value of the metric's `by`; all together where it is missing.
    only: str | None = None
    above: float | None = None
    below: float | None = None
    #: It differs by so many percent, up or down, from the mean of the `compared` windows before.
    changed_percent: float | None = Field(default=None, gt=0)
    compared: int = Field(default=5, ge=1, le=100)
    enabled: bool = True

    def model_post_init(self, context: Any, /) -> None:
        if self.above is None and self.below is None and self.changed_percent is None:
            raise ValueError("say what to look for: above, below or changed_percent (none at all is below: 1)")
