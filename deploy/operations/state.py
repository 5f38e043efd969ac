"""The state hash: equal where two databases say the same, in whatever order and when ever it came about."""

import hashlib

from processors.storage.database import Connection

#: Every profile with the name of its person, which is the same whoever of them survived.
_WHO = """with who as (
    select id, min(id::text) over (partition by coalesce(merged_into, id)) as person, merged_into is null as live
    from profiles) """

#: Table by table, what the state is: without clocks of ours, places in `tracks` and what depends on arrival order.
_STATE = {
    "events": """select e.source, coalesce(e.reused_id, e.id), e.fingerprint, e.type, who.person, e.session_id,
                        e.occurred_at, e.saved, e.properties, e.context
                 from events e left join who on who.id = e.profile_id""",
    "profiles": "select id, person from who",
    "sessions": "select s.source, s.id, who.person from sessions s join who on who.id = s.profile_id",
    "identifiers": """select i.namespace, i.value, who.person
                      from identifiers i join who on who.id = i.profile_id""",
    "counters": """select who.person, c.type, c.count, c.first_at, c.last_at
                   from profile_counters c join who on who.id = c.profile_id where who.live""",
    "traits": """select who.person, (select jsonb_object_agg(name, jsonb_build_array(trait->0, trait->1, trait->2))
                                   from jsonb_each(t.traits) as of_theirs(name, trait)), t.totals
                 from profile_traits t join who on who.id = t.profile_id
                 where who.live and (t.traits <> '{}' or t.totals <> '{}')""",
    "memberships": """select who.person, m.segment, m.origin
                      from memberships m join who on who.id = m.profile_id""",
    "consents": "select who.person, c.consent, c.granted, c.at from consents c join who on who.id = c.profile_id",
    "dropped": "select source, reason, count(*) from dropped_events group by 1, 2",
    "windows": """select who.person, d.type, d.day, sum(d.count)
                  from profile_days d join who on who.id = d.profile_id group by 1, 2, 3""",
    "runs": "select source, event_id, outcome from workflow_runs",
    "waiting": """select e.source, e.id, r.workflow, r.version
                  from parked_runs r join events e using (origin_partition, origin_offset, origin_ordinal)""",
    "failures": """select kind, stage, source, event_id, type, reasons, content from failures where state = 'open'""",
}


async def state_hashes(connection: Connection) -> dict[str, str]:
    """A hash for each part of the state, and `all` for the whole. A sum of row hashes: no order, no memory."""
    found = {}
    # The hashes are of texts, and the text of a time depends on these.
    await connection.execute("set timezone = 'UTC'; set datestyle = 'ISO'")
    for name, query in _STATE.items():
        cursor = await connection.execute(
            f"{_WHO} select count(*), coalesce(sum(('x' || left(md5(r::text), 16))::bit(64)::bigint::numeric), 0), "
            f"coalesce(sum(('x' || right(md5(r::text), 16))::bit(64)::bigint::numeric), 0) from ({query}) r".encode()
        )
        found[name] = hashlib.sha256(repr(await cursor.fetchone()).encode()).hexdigest()[:16]
    whole = hashlib.sha256("".join(found.values()).encode()).hexdigest()[:32]
    return {"all": whole, **found}
