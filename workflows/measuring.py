"""Live metrics: what a batch of events adds to which windows; and what alerts make of windows that are over. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context as DecimalContext
from decimal import Decimal
from typing import Any

import msgspec

from schemas.definitions.measuring import Alert, Metric
from schemas.events import IdentifiedEvent
from workflows.actions.action import event_variables
from workflows.conditions import Condition, Context
from workflows.identifiers import value_at
from workflows.wildcards import matches

#: Different values of a metric's `by` in a window and lane; whatever comes then is counted together.
MAX_KEYS, OTHERS = 500, "(others)"
MAX_KEY_CHARS = 100
#: Larger ones are mistakes, and would hide everything else in a sum.
MAX_NUMBER = 1e100
#: The sum of so many does not depend on their order.
_EXACT = DecimalContext(prec=500)


class CompiledMetric:
    """A metric with its condition compiled. Raises ConditionError."""

    def __init__(self, definition: Metric) -> None:
        self.definition = definition
        self.condition = Condition(definition.condition) if definition.condition else None

    def takes(self, event: IdentifiedEvent) -> bool:
        """Whether it is about events of this type and source."""
        wanted = self.definition
        return wanted.source in (None, event.source) and matches((wanted.event_type,), event.type)


class Sums(msgspec.Struct):
    """What a window holds of one value: events, their sum, and the people."""

    events: int = 0
    total: Decimal = Decimal(0)
    people: set[str] = msgspec.field(default_factory=set)


#: Metric, when the window begins, the value that it is of ('' where it is not divided).
WindowKey = tuple[str, datetime, str]


def measured(events: Iterable[IdentifiedEvent], metrics: Sequence[CompiledMetric]) -> dict[WindowKey, Sums]:
    """What these events, each counted once, add."""
    found: dict[WindowKey, Sums] = {}
    if not metrics:
        return found
    keys: dict[tuple[str, datetime], set[str]] = {}
    for event in events:
        wanting = [metric for metric in metrics if metric.takes(event)]
        if not wanting:
            continue
        properties = msgspec.json.decode(event.properties)
        context = _context(event, properties)
        for metric in wanting:
            if metric.condition is not None and not metric.condition.holds(context):
                continue
            definition, begins = metric.definition, begin_of(event.received_at, metric.definition.window_s)
            key = _key(properties, definition.by)
            known = keys.setdefault((definition.id, begins), set())
            if key not in known and len(known) >= MAX_KEYS:
                key = OTHERS
            known.add(key)
            sums = found.setdefault((definition.id, begins, key), Sums())
            sums.events += 1
            if definition.sum:
                sums.total = _EXACT.add(sums.total, _number(value_at(properties, definition.sum)))
            if definition.people and event.profile is not None:
                sums.people.add(event.profile)
    return found


def _context(event: IdentifiedEvent, properties: dict[str, Any]) -> Context:
    return Context({"event": lambda: event_variables(event, lambda: properties)})


def begin_of(at: datetime, window_s: int) -> datetime:
    """When the window began that this moment is in."""
    return datetime.fromtimestamp(at.timestamp() // window_s * window_s, UTC)


def _key(properties: Any, path: str | None) -> str:
    if path is None:
        return ""
    value = value_at(properties, path)
    if value is None or isinstance(value, dict | list):
        return "(none)"
    return (str(value).lower() if isinstance(value, bool) else str(value))[:MAX_KEY_CHARS]


def _number(value: Any) -> Decimal:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER
    return Decimal(str(value)) if is_number else Decimal(0)


class Verdict(msgspec.Struct, frozen=True):
    """What an alert says of a window."""

    holds: bool
    value: float
    #: What it was compared with, where it was.
    usual: float | None = None


def judged(alert: Alert, ends: datetime, window: timedelta, values: Mapping[datetime, float]) -> Verdict:
    """What the alert says of the window that ends there; `values` by beginning, none where nothing happened."""
    begins = ends - window
    value = values.get(begins, 0.0)
    before = [values.get(begins - window * number, 0.0) for number in range(1, alert.compared + 1)]
    usual = sum(before) / len(before)
    changed = alert.changed_percent is not None and _differs(value, usual, alert.changed_percent)
    holds = (
        (alert.above is not None and value > alert.above)
        or (alert.below is not None and value < alert.below)
        or changed
    )
    return Verdict(holds, value, usual if alert.changed_percent is not None else None)


def _differs(value: float, usual: float, percent: float) -> bool:
    return value != usual if usual == 0 else abs(value - usual) / abs(usual) * 100 > percent
