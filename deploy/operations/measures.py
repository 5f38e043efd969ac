"""Live metrics as people and Prometheus see them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from processors.storage.database import Connection
from processors.storage.definitions import DefinitionStore
from processors.storage.measures import Measures
from schemas.definitions.measuring import Metric
from workflows.measuring import begin_of

#: Values of a metric that are told, those with the most events first.
MAX_TOLD = 100


class Measured(msgspec.Struct):
    """One window of one value of a metric."""

    metric: str
    begins: datetime
    window_s: int
    value: str
    events: float
    sum: float
    people: float


async def recent(connection: Connection, windows: int, now: datetime | None = None) -> list[Measured]:
    """The last so many windows of every metric, the one under way included, oldest first."""
    bodies = (await DefinitionStore(connection).current()).values()
    found = []
    for metric in [Metric.model_validate(body) for body in bodies if body["kind"] == "metric"]:
        last = begin_of(now or datetime.now(UTC), metric.window_s)
        since = last - timedelta(seconds=metric.window_s) * (windows - 1)
        for begins, values in (await Measures(connection).windows(metric.id, since)).items():
            found += _told(metric, begins, values)
    return found


async def last_full(connection: Connection) -> list[Measured]:
    """Every metric's last window that is over."""
    now = datetime.now(UTC)
    return [one for one in await recent(connection, 2, now) if one.begins + timedelta(seconds=one.window_s) <= now]


def _told(metric: Metric, begins: datetime, values: Mapping[str, Mapping[str, Any]]) -> list[Measured]:
    most = sorted(values.items(), key=lambda one: (-one[1]["events"], one[0]))[:MAX_TOLD]
    return [Measured(metric.id, begins, metric.window_s, value, **numbers) for value, numbers in most]
