"""What a stage does because time passes, beside what its records ask for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from deploy.alerting import Alerts, OldWindows
from deploy.feed import DefinitionsFeed
from processors.runner.ticker import EVERY_S, TakeDue
from processors.storage.database import Connection
from processors.storage.parked import ParkedRuns
from processors.storage.visits import VisitTimers, forget_sessions
from processors.storage.windows import Windows
from schemas.events import EmittedEvent, WorkflowRun
from schemas.profiles import SegmentationJob
from workflows.announcing import visit_over
from workflows.remembering import VISIT_ENDED

#: At once: of what is due, and of old sessions.
BATCH, OLD_BATCH = 1000, 5000
OLD_EVERY_S = 3600.0


def due_of(stage: str, feed: DefinitionsFeed) -> Iterator[tuple[TakeDue, float]]:
    """What to take out of which table, and how often (s) to look."""
    if stage == "segment":
        yield take_due_segments, EVERY_S
        yield forget_old_days, OLD_EVERY_S
    if stage == "persist":
        yield Alerts(feed).take_due, EVERY_S
        yield OldWindows(feed).take_due, OLD_EVERY_S
    if stage == "run-workflows":
        yield take_due_runs, EVERY_S
    if stage == "identify":
        yield _VisitsOver(feed).take_due, EVERY_S
        yield _OldSessions(feed).take_due, OLD_EVERY_S


async def take_due_segments(connection: Connection) -> list[SegmentationJob]:
    """Segments are looked at again when a day leaves a window, or a consent ends."""
    due = await Windows(connection).take_due(datetime.now(UTC), BATCH)
    return [SegmentationJob(profile=profile, changed=["segments"], silent=True) for profile in due]


async def forget_old_days(connection: Connection) -> list[SegmentationJob]:
    """What no window counts any more is forgotten; nothing is said of it."""
    while await Windows(connection).forget(OLD_BATCH) == OLD_BATCH:
        await connection.commit()
    return []


async def take_due_runs(connection: Connection) -> list[WorkflowRun]:
    """Workflow runs that waited for a time, or for something that has not come in time."""
    return await ParkedRuns(connection).take_due(datetime.now(UTC), BATCH)


class _VisitsOver:
    def __init__(self, feed: DefinitionsFeed) -> None:
        self._feed = feed

    async def take_due(self, connection: Connection) -> list[EmittedEvent]:
        """A visit of which nothing is heard any more is said to be over, where its source asks."""
        idle = {
            source.id: timedelta(minutes=source.session_idle_minutes)
            for source in self._feed.get().sources.values()
            if VISIT_ENDED in source.system_events
        }
        over = await VisitTimers(connection).take_due(datetime.now(UTC), idle, BATCH)
        return [visit_over(v.source, v.session, v.profile, v.last_at, idle[v.source]) for v in over]


class _OldSessions:
    def __init__(self, feed: DefinitionsFeed) -> None:
        self._feed = feed

    async def take_due(self, connection: Connection) -> list[EmittedEvent]:
        """Sessions that are older than their source keeps them are forgotten; nothing is said of it."""
        for source in self._feed.get().sources.values():
            after: str | None = ""
            while source.session_retention_days is not None and after is not None:
                since = datetime.now(UTC) - timedelta(days=source.session_retention_days)
                _, after = await forget_sessions(connection, source.id, since, after, OLD_BATCH)
                await connection.commit()
        return []
