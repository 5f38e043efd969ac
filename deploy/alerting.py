"""Alerts on live metrics: looked at beside persist, window by window; what they say is an event of their source."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from deploy.feed import DefinitionsFeed
from processors.storage.database import Connection
from processors.storage.measures import Measures
from schemas.definitions.measuring import Alert, Metric
from schemas.events import EmittedEvent
from schemas.origin import derived_id
from workflows.measuring import Verdict, begin_of, judged

#: How long after its end a window is looked at: events that were received in it may still be on their way.
GRACE = timedelta(seconds=5)
RAISED, CLEARED = "alert-raised", "alert-cleared"


class Alerts:
    """Whatever process asks first looks at a window; a crash says it again, under the same id."""

    def __init__(self, feed: DefinitionsFeed, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._feed, self._now = feed, now

    async def take_due(self, connection: Connection) -> list[EmittedEvent]:
        """What alerts say of windows that are over. The transaction is the caller's."""
        definitions, measures, said = self._feed.get(), Measures(connection), list[EmittedEvent]()
        for alert in definitions.alerts:
            metric = definitions.metrics.get(alert.metric)
            if metric is not None:
                said += await self._look(measures, alert, metric.definition)
        return said

    async def _look(self, measures: Measures, alert: Alert, metric: Metric) -> list[EmittedEvent]:
        window = timedelta(seconds=metric.window_s)
        until = begin_of(self._now() - GRACE, metric.window_s)
        state = await measures.lock_alert(alert.id, until)
        if state is None or state[0] >= until:
            return []
        looked, is_raised = state
        # After a long stop only the last windows are looked at: what was is for the tables to tell.
        ends = max(looked + window, until - window * 10)
        found = await measures.windows(metric.id, ends - window * (alert.compared + 1), alert.only)
        values = {begins: sum(one[alert.of] for one in keys.values()) for begins, keys in found.items()}
        said = []
        while ends <= until:
            verdict = judged(alert, ends, window, values)
            if verdict.holds != is_raised:
                is_raised = verdict.holds
                said.append(_event(alert, RAISED if is_raised else CLEARED, ends, verdict))
            ends += window
        await measures.looked(alert.id, until, is_raised)
        return said


def _event(alert: Alert, type: str, ends: datetime, verdict: Verdict) -> EmittedEvent:
    properties: dict[str, Any] = {"alert": alert.id, "metric": alert.metric, "of": alert.of, "value": verdict.value}
    if alert.only is not None:
        properties["only"] = alert.only
    if verdict.usual is not None:
        properties["usual"] = verdict.usual
    id = derived_id(type, alert.id, ends.isoformat())
    sent = {"id": id, "type": type, "timestamp": ends, "properties": properties}
    body = {"source": {"id": alert.source}, "profile_less": True, "events": [sent]}
    return EmittedEvent(key=id, hops=1, payload=msgspec.Raw(msgspec.json.encode(body)))


class OldWindows:
    """Drops windows that are older than their metrics keep them."""

    def __init__(self, feed: DefinitionsFeed) -> None:
        self._feed = feed

    async def take_due(self, connection: Connection) -> list[EmittedEvent]:
        """Nothing is said of it."""
        for id, metric in self._feed.get().metrics.items():
            before = datetime.now(UTC) - timedelta(hours=metric.definition.keep_hours)
            await Measures(connection).forget(id, before)
        return []
