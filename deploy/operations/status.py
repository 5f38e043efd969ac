"""What `headwater status` and /metrics say of an installation: how each stage stands, and what became of all events."""

import asyncio
from collections import Counter
from typing import Any

import msgspec

from deploy.kafka import KafkaAdmin
from deploy.operations.lag import lags, oldest, positions, stage_topics, waiting
from deploy.operations.measures import Measured, last_full
from processors.storage.database import Connection
from schemas.failures import RUNNER_REASONS


class StageStatus(msgspec.Struct):
    """One stage, all its lanes together."""

    stage: str
    #: Records that it has still to process.
    lag: int
    #: Records processed so far; two readings give the rate.
    processed: int
    #: Seconds since a lane of it last stored a position; None where none ever did.
    idle_s: float | None
    #: Dead letters that nobody has replayed or given up; and all that ever were.
    dead_letters: int
    dead_letters_ever: int = 0
    #: Seconds for which the oldest record before it has waited; None where none waits.
    oldest_s: float | None = None
    #: Records that came again after they were done, and outputs that were sent again, so far.
    redelivered: int = 0
    #: Lanes that another worker shut out, so far.
    fenced: int = 0
    #: Cause to how often a batch was tried again for it, so far.
    retries: Counter[str] = msgspec.field(default_factory=Counter)
    #: Lanes that stand still, as `topic[partition]: why`.
    stopped: list[str] = []


class Accounting(msgspec.Struct):
    """One source's events: what came in is what went out, and what is under way."""

    source: str
    accepted: int = 0
    recorded: int = 0
    duplicates: int = 0
    id_reused: int = 0
    rejected: int = 0
    dead_letters: int = 0
    #: Events whose person did not agree or was erased; failures that an operator gave up, or whose person was erased.
    dropped: int = 0

    @property
    def under_way(self) -> int:
        """Accepted events that have no outcome yet; 0 when nothing is moving."""
        outcomes = self.recorded + self.duplicates + self.rejected + self.dead_letters + self.dropped
        return self.accepted - outcomes


class Waiting(msgspec.Struct):
    """Workflow runs that wait, and what they have asked of the outside."""

    runs: int = 0
    calls: int = 0
    #: Calls that were tried before, and are tried again.
    failing: int = 0
    #: Seconds since the call that waits longest was to be made; None where none is overdue.
    oldest_s: float | None = None


class Status(msgspec.Struct):
    """A moment of an installation."""

    stages: list[StageStatus]
    sources: list[Accounting]
    profiles: int
    events: int
    waiting: Waiting = msgspec.field(default_factory=Waiting)
    #: Live metrics: each one's last window that is over.
    measured: list[Measured] = []


async def read_status(connection: Connection, admin: KafkaAdmin) -> Status:
    """The installation as it is now."""
    reads = await stage_topics(connection)
    ends = await asyncio.to_thread(admin.end_offsets, {topic for topics in reads.values() for topic in topics})
    stored = await positions(connection)
    lag = lags(stored, ends, reads)
    idle = await _pairs(
        connection, "select stage, extract(epoch from now() - max(updated_at))::float from stage_progress group by 1"
    )
    dead = await _pairs(
        connection,
        "select stage, array[count(*) filter (where state = 'open'), count(*)] from failures "
        "where kind = 'dead-letter' group by 1",
    )
    waits = waiting(stored, ends, reads)
    age = await oldest(admin, stored, waits) if waits else {}
    stages = [
        StageStatus(
            stage=stage,
            lag=lag[stage],
            processed=sum(offset for (name, _, _), offset in stored.items() if name == stage),
            idle_s=idle.get(stage),
            dead_letters=dead.get(stage, (0, 0))[0],
            dead_letters_ever=dead.get(stage, (0, 0))[1],
            oldest_s=age.get(stage),
        )
        for stage in reads
    ]
    await _add_health(connection, {stage.stage: stage for stage in stages})
    cursor = await connection.execute(
        "select (select count(*) from profiles where merged_into is null), "
        "(select coalesce(sum(recorded), 0)::bigint from recorded_counts)"
    )
    profiles, events = await cursor.fetchone() or (0, 0)
    cursor = await connection.execute(
        "select (select count(*) from parked_runs), count(*), count(*) filter (where tries > 1), "
        "extract(epoch from now() - min(due_at) filter (where due_at < now()))::float from outside_calls"
    )
    parked = Waiting(*(await cursor.fetchone() or ()))
    return Status(stages, await accounting(connection), profiles, events, parked, await last_full(connection))


async def _add_health(connection: Connection, stages: dict[str, StageStatus]) -> None:
    """Add what the lanes have met."""
    cursor = await connection.execute(
        "select stage, topic, partition, redelivered, fenced, retries, stopped from lane_health order by 1, 2, 3"
    )
    for name, topic, partition, redelivered, fenced, retries, stopped in await cursor.fetchall():
        if (stage := stages.get(name)) is not None:
            stage.redelivered += redelivered
            stage.fenced += fenced
            stage.retries.update(retries)
            if stopped is not None:
                stage.stopped.append(f"{topic}[{partition}]: {stopped}")


async def _pairs(connection: Connection, query: str) -> dict[str, Any]:
    cursor = await connection.execute(query.encode())
    return dict(await cursor.fetchall())


async def accounting(connection: Connection) -> list[Accounting]:
    """accepted = recorded + duplicates + rejected + dead letters + dropped + under way, per source, exactly (one
    snapshot)."""
    cursor = await connection.execute(_ACCOUNTING, (list(RUNNER_REASONS),))
    return [Accounting(*row) for row in await cursor.fetchall()]


#: What fails behind persist is recorded already: that is its outcome here. What the runner took for poison in validate,
#: no step has counted: it counts here. A failure that was sent again has its outcome elsewhere.
_ACCOUNTING = """
with failed as (
    select source, state, kind,
           stage = 'validate' and kind = 'dead-letter' and not counted and state <> 'sending'
               and (reasons->0->>'code' = any(%s) or state = 'erased') as uncounted
    from failures
    where topic = 'tracks' and state <> 'replayed'
      and (kind = 'rejected' or stage in ('validate', 'identify', 'persist', 'record-failures'))
)
select source, sum(accepted)::bigint, sum(recorded)::bigint, sum(duplicates)::bigint, sum(id_reused)::bigint,
       sum(rejected)::bigint, sum(dead)::bigint, sum(dropped)::bigint
from (
    select source, accepted, 0 as recorded, 0 as duplicates, 0 as id_reused, 0 as rejected, 0 as dead, 0 as dropped
    from source_counts
    union all select source, 0, recorded, duplicates, id_reused, 0, 0, 0 from recorded_counts
    union all select source, 0, 0, 0, 0, 0, 0, dropped from dropped_counts
    union all select source, count(*) filter (where uncounted), 0, 0, 0,
                     count(*) filter (where state = 'open' and kind = 'rejected'),
                     count(*) filter (where state = 'open' and kind = 'dead-letter'),
                     count(*) filter (where state in ('dropped', 'erased'))
              from failed group by source
) everything group by source order by source
"""
