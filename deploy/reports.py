"""What `headwater status`, `event`, `events`, `profile` and `rejected` read from PostgreSQL and Kafka."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import DictRow, TupleRow, dict_row

from deploy.kafka import KafkaAdmin
from processors.topology import PIPELINE
from schemas.failures import RUNNER_REASONS
from schemas.topics import CATALOGUE

Report = AsyncConnection[TupleRow]


_TRANSACTIONAL = {topic.name for topic in CATALOGUE if topic.fenced}


class StageStatus(msgspec.Struct):
    """One stage, all its lanes together."""

    stage: str
    #: Records that it has still to process.
    lag: int
    #: Records processed so far; two readings give the rate.
    processed: int
    #: Seconds since a lane of it last stored a position; None where none ever did.
    idle_s: float | None
    dead_letters: int


class Accounting(msgspec.Struct):
    """One source's events: what came in is what went out, and what is under way."""

    source: str
    accepted: int = 0
    recorded: int = 0
    duplicates: int = 0
    id_reused: int = 0
    rejected: int = 0
    dead_letters: int = 0
    #: Failures that an operator gave up.
    dropped: int = 0

    @property
    def under_way(self) -> int:
        """Accepted events that have no outcome yet; 0 when nothing is moving."""
        outcomes = self.recorded + self.duplicates + self.rejected + self.dead_letters + self.dropped
        return self.accepted - outcomes


class Status(msgspec.Struct):
    """A moment of an installation."""

    stages: list[StageStatus]
    sources: list[Accounting]
    profiles: int
    events: int


async def positions(connection: Report) -> dict[tuple[str, str, int], int]:
    """(stage, topic, partition) to the next offset."""
    cursor = await connection.execute("select stage, topic, partition, next_offset from stage_progress")
    return {(stage, topic, partition): offset for stage, topic, partition, offset in await cursor.fetchall()}


def lags(
    stored: Mapping[tuple[str, str, int], int], ends: Mapping[tuple[str, int], int], reads: Mapping[str, list[str]]
) -> dict[str, int]:
    """Records that each stage has still to process. A lane without a row has all of its partition before it."""
    found = dict.fromkeys(reads, 0)
    for stage, topics in reads.items():
        for (topic, partition), end in ends.items():
            if topic in topics:
                # The last offset of a topic written in transactions is the marker that ends the last of them.
                last = end - 1 if topic in _TRANSACTIONAL else end
                found[stage] += max(0, last - stored.get((stage, topic, partition), 0))
    return found


async def stage_topics(connection: Report) -> dict[str, list[str]]:
    """Every stage with the topics it reads; dispatchers too."""
    cursor = await connection.execute("select distinct stage, topic from stage_progress where stage like 'dispatch-%'")
    found = {stage.name: [topic.name for topic in stage.reads] for stage in PIPELINE}
    return found | {stage: [topic] for stage, topic in await cursor.fetchall()}


async def total_lag(connection: Report, admin: KafkaAdmin) -> int:
    """Records that wait before any stage but the archive, which gathers."""
    reads = {stage: topics for stage, topics in (await stage_topics(connection)).items() if stage != "archive"}
    # Ends first, then positions: a lag that looks like nothing then was nothing at a moment that had all before it.
    ends = await asyncio.to_thread(admin.end_offsets, {topic for topics in reads.values() for topic in topics})
    return sum(lags(await positions(connection), ends, reads).values())


async def status(connection: Report, admin: KafkaAdmin) -> Status:
    """The installation as it is now."""
    reads = await stage_topics(connection)
    ends = await asyncio.to_thread(admin.end_offsets, {topic for topics in reads.values() for topic in topics})
    stored = await positions(connection)
    lag = lags(stored, ends, reads)
    idle = await _pairs(
        connection, "select stage, extract(epoch from now() - max(updated_at))::float from stage_progress group by 1"
    )
    dead = await _pairs(
        connection, "select stage, count(*) from failures where kind = 'dead-letter' and state = 'open' group by 1"
    )
    stages = [
        StageStatus(
            stage=stage,
            lag=lag[stage],
            processed=sum(offset for (name, _, _), offset in stored.items() if name == stage),
            idle_s=idle.get(stage),
            dead_letters=dead.get(stage, 0),
        )
        for stage in reads
    ]
    cursor = await connection.execute(
        "select (select count(*) from profiles where merged_into is null), "
        "(select coalesce(sum(recorded), 0)::bigint from recorded_counts)"
    )
    profiles, events = await cursor.fetchone() or (0, 0)
    return Status(stages, await accounting(connection), profiles, events)


async def _pairs(connection: Report, query: str) -> dict[str, Any]:
    cursor = await connection.execute(query.encode())
    return dict(await cursor.fetchall())


async def accounting(connection: Report) -> list[Accounting]:
    """accepted = recorded + duplicates + rejected + dead letters + dropped + under way, per source, exactly (one
    snapshot)."""
    cursor = await connection.execute(_ACCOUNTING, (list(RUNNER_REASONS),))
    return [Accounting(*row) for row in await cursor.fetchall()]


#: What fails behind persist is recorded already: that is its outcome here. What the runner took for poison in validate,
#: no step has counted: it counts here. A failure that was sent again has its outcome elsewhere.
_ACCOUNTING = """
with failed as (
    select source, state, kind,
           stage = 'validate' and kind = 'dead-letter' and reasons->0->>'code' = any(%s) as uncounted
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
    union all select source, count(*) filter (where uncounted), 0, 0, 0,
                     count(*) filter (where state = 'open' and kind = 'rejected'),
                     count(*) filter (where state = 'open' and kind = 'dead-letter'),
                     count(*) filter (where state = 'dropped')
              from failed group by source
) everything group by source order by source
"""


async def rows(connection: Report, query: str, values: Mapping[str, Any]) -> list[DictRow]:
    """A query's rows as dictionaries."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), values)
        return await cursor.fetchall()


EVENT_COLUMNS = (
    "e.source, e.id, e.type, coalesce(p.merged_into, e.profile_id)::text as profile, e.session_id as session, "
    "e.occurred_at, e.received_at, e.recorded_at, "
    "e.origin_partition || '/' || e.origin_offset || '/' || e.origin_ordinal as origin, "
    "case when r.origin_partition is null then 'received' else 'processed' end as state"
)
EVENT_TABLES = (
    "events e left join profiles p on p.id = e.profile_id left join workflow_runs r using "
    "(origin_partition, origin_offset, origin_ordinal)"
)


async def browse_events(connection: Report, limit: int, **filters: Any) -> list[DictRow]:
    """Events, latest received first. Filters: type, source, since, profile (a live or merged id), state."""
    conditions = {
        "type": "e.type = %(type)s",
        "source": "e.source = %(source)s",
        "since": "e.received_at >= %(since)s",
        "profile": "e.profile_id in (select id from profiles where id = %(profile)s or merged_into = %(profile)s)",
        "state": "(r.origin_partition is not null) = (%(state)s = 'processed')",
    }
    given = {name: value for name, value in filters.items() if value is not None}
    where = " and ".join(conditions[name] for name in given) or "true"
    return await rows(
        connection,
        f"select {EVENT_COLUMNS} from {EVENT_TABLES} where {where} order by e.received_at desc limit %(limit)s",
        {**given, "limit": limit},
    )


async def trace_event(connection: Report, admin: KafkaAdmin, id: str) -> dict[str, Any]:
    """Where an event is and what became of it. Empty where nobody has ever seen it."""
    found: dict[str, Any] = {
        "recorded": await rows(
            connection,
            f"select {EVENT_COLUMNS}, e.properties, r.outcome as workflows, e.reused_id from {EVENT_TABLES} "
            "where e.id = %(id)s or e.reused_id = %(id)s",
            {"id": id},
        ),
        "duplicates": await rows(
            connection,
            "select source, received_at, origin_partition || '/' || origin_offset || '/' || origin_ordinal as origin "
            "from event_duplicates where id = %(id)s",
            {"id": id},
        ),
        "failures": await rows(
            connection,
            "select kind, stage, source, type, reasons, failed_at, "
            "partition || '/' || \"offset\" || '/' || ordinal as origin from failures where event_id = %(id)s",
            {"id": id},
        ),
    }
    found["under_way"] = await _under_way(connection, admin, id)
    return {name: value for name, value in found.items() if value}


async def _under_way(connection: Report, admin: KafkaAdmin, id: str) -> list[dict[str, Any]]:
    """The records that still wait before a stage and hold the id: a look into what lies between position and end."""
    stored = await positions(connection)
    needle = msgspec.json.encode(id)[1:-1]
    found = []
    for stage in PIPELINE:
        if stage.name in ("archive", "record-failures"):
            continue
        for topic in stage.reads:
            starts = {p: offset for (name, t, p), offset in stored.items() if (name, t) == (stage.name, topic.name)}
            for message in admin.read(topic.name, starts):
                if needle in (message.value() or b""):
                    place = f"{message.partition()}/{message.offset()}"
                    found.append({"waits_for": stage.name, "topic": topic.name, "place": place})
    return found


async def profile(connection: Report, key: str) -> dict[str, Any] | None:
    """One profile, by its id (live or merged) or by NAMESPACE:VALUE; None where there is none."""
    id = await _profile_id(connection, key)
    if id is None:
        return None
    (found,) = await rows(connection, _PROFILE, {"id": id})
    found["identifiers"] = await rows(
        connection,
        "select namespace, value, source, linked_at from identifiers where profile_id in "
        "(select id from profiles where id = %(id)s or merged_into = %(id)s) order by namespace, value",
        {"id": id},
    )
    found["events"] = await browse_events(connection, 10, profile=id)
    return found


_PROFILE = """
select p.id::text, p.created_at,
       (select count(*) from profiles a where a.merged_into = p.id) as absorbed,
       coalesce((select jsonb_object_agg(t.key, t.value->0) from jsonb_each(s.traits) t), '{}') as traits,
       coalesce(s.totals, '{}') as totals,
       coalesce((select jsonb_object_agg(c.type, c.count) from profile_counters c where c.profile_id = p.id), '{}')
           as counters,
       coalesce((select jsonb_agg(jsonb_build_object('segment', segment, 'origin', origin, 'since', since))
                 from memberships m where m.profile_id = p.id), '[]') as segments,
       coalesce((select version from profile_versions v where v.profile_id = p.id), 0) as version
from profiles p left join profile_traits s on s.profile_id = p.id where p.id = %(id)s
"""


async def _profile_id(connection: Report, key: str) -> str | None:
    namespace, colon, value = key.partition(":")
    if colon:
        query = (
            "select coalesce(p.merged_into, p.id)::text as id "
            "from identifiers i join profiles p on p.id = i.profile_id "
            "where i.namespace = %(namespace)s and i.value = %(value)s"
        )
        found = await rows(connection, query, {"namespace": namespace, "value": value})
    else:
        query = "select coalesce(merged_into, id)::text as id from profiles where id::text = lower(%(id)s)"
        found = await rows(connection, query, {"id": key})
    return found[0]["id"] if found else None
