"""The state hash: equal where two databases say the same, in whatever order and when ever it came about."""

import hashlib

from processors.storage.database import Connection

#: Table by table, what the state is: without clocks of ours, places in `tracks` and what depends on arrival order.
_STATE = {
    "events": """select e.source, coalesce(e.reused_id, e.id), e.fingerprint, e.type,
                        coalesce(p.merged_into, e.profile_id), e.session_id, e.occurred_at, e.saved, e.properties,
                        e.context
                 from events e left join profiles p on p.id = e.profile_id""",
    "profiles": "select id, coalesce(merged_into, id) from profiles",
    "sessions": """select s.source, s.id, coalesce(p.merged_into, p.id)
                   from sessions s join profiles p on p.id = s.profile_id""",
    "identifiers": """select i.namespace, i.value, coalesce(p.merged_into, p.id)
                      from identifiers i join profiles p on p.id = i.profile_id""",
    "counters": """select c.profile_id, c.type, c.count, c.first_at, c.last_at
                   from profile_counters c join profiles p on p.id = c.profile_id where p.merged_into is null""",
    "traits": """select t.profile_id, t.traits, t.totals
                 from profile_traits t join profiles p on p.id = t.profile_id
                 where p.merged_into is null and (t.traits <> '{}' or t.totals <> '{}')""",
    "memberships": "select profile_id, segment, origin from memberships",
    "consents": """select coalesce(p.merged_into, p.id), c.consent, c.granted, c.at
                   from consents c join profiles p on p.id = c.profile_id""",
    "dropped": "select source, reason, count(*) from dropped_events group by 1, 2",
    "windows": """select coalesce(p.merged_into, p.id), d.type, d.day, sum(d.count)
                  from profile_days d join profiles p on p.id = d.profile_id group by 1, 2, 3""",
    "runs": "select source, event_id, outcome from workflow_runs",
    "failures": """select kind, stage, source, event_id, type, reasons, content from failures where state = 'open'""",
}


async def state_hashes(connection: Connection) -> dict[str, str]:
    """A hash for each part of the state, and `all` for the whole. A sum of row hashes: no order, no memory."""
    found = {}
    for name, query in _STATE.items():
        cursor = await connection.execute(
            "select count(*), coalesce(sum(('x' || left(md5(r::text), 16))::bit(64)::bigint::numeric), 0), "
            f"coalesce(sum(('x' || right(md5(r::text), 16))::bit(64)::bigint::numeric), 0) from ({query}) r".encode()
        )
        found[name] = hashlib.sha256(repr(await cursor.fetchone()).encode()).hexdigest()[:16]
    whole = hashlib.sha256("".join(found.values()).encode()).hexdigest()[:32]
    return {"all": whole, **found}
