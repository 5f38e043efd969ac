"""`headwater export`: everything that is known of one person, as JSON."""

from typing import Any

from deploy.operations.identity import find
from deploy.operations.reports import rows
from deploy.settings import Settings
from processors.storage.database import Connection

#: Part by part what is kept of a person. `ids`: the live profile and all that became part of it.
_PARTS = {
    "profiles": "select id::text, created_at, merged_into::text from profiles where id = any(%(ids)s::uuid[]) "
    "order by created_at, id",
    "identifiers": "select namespace, value, linked_at as first_seen, greatest(last_seen, linked_at) as last_seen, "
    "verified, source, event_id "
    "from identifiers where profile_id = any(%(ids)s::uuid[]) order by namespace, value",
    "traits": "select t.key as name, t.value->0 as value, t.value->>2 as event_id from profile_traits, "
    "jsonb_each(traits) t where profile_id = any(%(ids)s::uuid[]) order by t.key",
    "totals": "select t.key as name, t.value as total from profile_traits, jsonb_each(totals) t "
    "where profile_id = any(%(ids)s::uuid[]) order by t.key",
    "counters": "select type, count, first_at, last_at from profile_counters where profile_id = any(%(ids)s::uuid[]) "
    "order by type",
    "consents": "select consent, granted, at, event_id from consents where profile_id = any(%(ids)s::uuid[]) "
    "order by consent",
    "segments": "select segment, origin, since from memberships where profile_id = any(%(ids)s::uuid[]) "
    "order by segment",
    "sessions": "select source, id, started_at, greatest(last_at, started_at) as last_at, ended_at, context "
    "from sessions where profile_id = any(%(ids)s::uuid[]) order by started_at, source, id",
    "events": "select source, id, type, session_id as session, occurred_at, received_at, recorded_at, properties, "
    "context from events where profile_id = any(%(ids)s::uuid[]) order by occurred_at, source, id",
    "windows": "select type, day, count from profile_days where profile_id = any(%(ids)s::uuid[]) order by type, day",
    "runs": "select r.source, r.event_id, r.ran_at, r.outcome, r.changes from events e join workflow_runs r "
    "using (origin_partition, origin_offset, origin_ordinal) where e.profile_id = any(%(ids)s::uuid[]) "
    "order by r.ran_at, r.source, r.event_id",
    "later_changes": "select e.source, e.id as event_id, r.ran_at, r.changes from events e join run_parts r "
    "using (origin_partition, origin_offset, origin_ordinal) where e.profile_id = any(%(ids)s::uuid[]) "
    "order by r.ran_at, r.place",
    "waiting_runs": "select e.source, e.id as event_id, r.workflow, r.due_at, r.awaits, "
    "convert_from(r.state, 'UTF8')::jsonb as state from events e join parked_runs r "
    "using (origin_partition, origin_offset, origin_ordinal) where e.profile_id = any(%(ids)s::uuid[]) "
    "order by r.parked_at",
    "refused_identifiers": "select namespace, value, reason, source, event_id, first_at from refused_identifiers "
    "where profile_id = any(%(ids)s::uuid[]) order by namespace, value",
    "merges": "select survivor::text, absorbed::text, cause, namespace, event_id, merged_at, before from merges "
    "where survivor = any(%(ids)s::uuid[]) or absorbed = any(%(ids)s::uuid[]) order by id",
    "refused_merges": "select profiles::text[], reason, namespace, asked_namespace, event_id, first_at "
    "from merge_conflicts where profiles && %(ids)s::uuid[] order by first_at",
}


async def export(connection: Connection, settings: Settings, name: str) -> dict[str, Any]:
    """What is known of the person. Raises LookupError for who is not known.

    What was rejected, or could not be read, belongs to nobody and is not among it.
    """
    live = (await find(connection, settings, name)).live
    found = await rows(
        connection,
        "select id::text from profiles where id = %(id)s::uuid or merged_into = %(id)s::uuid",
        {"id": live},
    )
    ids = [row["id"] for row in found]
    return {"profile": live, **{part: await rows(connection, query, {"ids": ids}) for part, query in _PARTS.items()}}
