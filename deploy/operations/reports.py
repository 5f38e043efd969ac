"""What `headwater event`, `events` and `profile` read from PostgreSQL and Kafka."""

from collections.abc import Mapping
from typing import Any

import msgspec
from psycopg.rows import DictRow, dict_row

from deploy.kafka import KafkaAdmin
from deploy.operations.lag import positions
from deploy.records import read
from processors.storage.database import Connection
from processors.topology import PIPELINE
from workflows.changes import field_of


async def rows(connection: Connection, query: str, values: Mapping[str, Any]) -> list[DictRow]:
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


async def browse_events(connection: Connection, limit: int, **filters: Any) -> list[DictRow]:
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


#: An event by its id. By its source, too, which the primary key begins with: there may be a great many events.
RECORDED = (
    f"select {EVENT_COLUMNS}, e.properties, r.outcome as workflows, e.reused_id from {EVENT_TABLES} "
    "where (e.source, e.id) in (select source, %(id)s from recorded_counts "
    "union select source, id from events where reused_id = %(id)s)"
)


async def trace_event(connection: Connection, admin: KafkaAdmin, id: str) -> dict[str, Any]:
    """Where an event is and what became of it. Empty where nobody has ever seen it."""
    found: dict[str, Any] = {
        "recorded": await rows(connection, RECORDED, {"id": id}),
        "duplicates": await rows(
            connection,
            "select source, received_at, origin_partition || '/' || origin_offset || '/' || origin_ordinal as origin "
            "from event_duplicates where id = %(id)s",
            {"id": id},
        ),
        "failures": await rows(
            connection,
            "select kind, stage, source, type, reasons, failed_at, state, attempt, "
            "partition || '/' || \"offset\" || '/' || ordinal as origin from failures where event_id = %(id)s",
            {"id": id},
        ),
    }
    found["under_way"] = await _under_way(connection, admin, id)
    return {name: value for name, value in found.items() if value}


async def _under_way(connection: Connection, admin: KafkaAdmin, id: str) -> list[dict[str, Any]]:
    """The records that still wait before a stage and hold the id: a look into what lies between position and end."""
    stored = await positions(connection)
    needle = msgspec.json.encode(id)[1:-1]
    found = []
    for stage in PIPELINE:
        if stage.name in ("archive", "record-failures"):
            continue
        for topic in stage.reads:
            starts = {p: offset for (name, t, p), offset in stored.items() if (name, t) == (stage.name, topic.name)}
            for message in read(admin, topic.name, starts):
                if needle in (message.value() or b""):
                    place = f"{message.partition()}/{message.offset()}"
                    found.append({"waits_for": stage.name, "topic": topic.name, "place": place})
    return found


async def profile(connection: Connection, id: str) -> dict[str, Any]:
    """One live profile, by its id."""
    (found,) = await rows(connection, _PROFILE, {"id": id})
    found["identifiers"] = await rows(
        connection,
        "select namespace, value, source, linked_at as first_seen, "
        # By our clock and by the client's.
        "greatest(last_seen, linked_at) as last_seen, verified from identifiers "
        "where profile_id in (select id from profiles where id = %(id)s or merged_into = %(id)s) "
        "order by namespace, value",
        {"id": id},
    )
    found["events"] = await browse_events(connection, 10, profile=id)
    return found


async def profile_changes(connection: Connection, id: str, limit: int) -> list[dict[str, Any]]:
    """What workflows and mappings changed about one live profile, and those merged into it, latest first."""
    found = await rows(
        connection,
        "select r.ran_at as changed_at, e.occurred_at, e.source, e.id as event, e.type, c as change "
        "from events e join run_changes r using (origin_partition, origin_offset, origin_ordinal), "
        "jsonb_array_elements(r.changes) with ordinality as t(c, place) "
        "where e.profile_id in (select id from profiles where id = %(id)s or merged_into = %(id)s) "
        "and (jsonb_array_length(c) > 3 or c->>0 = 'segment') order by r.ran_at desc, r.place desc, t.place "
        "limit %(limit)s",
        {"id": id, "limit": limit},
    )
    for row in found:
        change = row.pop("change")
        row["field"], row["did"] = field_of(change), change[0]
        in_list = change[0] in ("append", "remove", "segment")
        row["old"], row["new"] = (None, change[2]) if in_list else change[3:]
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
