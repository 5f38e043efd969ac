"""What a workflow is told of whoever has an identifier."""

import msgspec

from processors.storage.database import Connection
from schemas.events import Answer
from workflows.definitions import Definitions
from workflows.identification import Identifiers
from workflows.identity import ProfileIds
from workflows.waiting import ProfileCall

#: At the same time, by one worker.
PARALLEL_LOOK_UPS = 10


async def look_up(
    connection: Connection, call: ProfileCall, definitions: Definitions, profile_ids: ProfileIds
) -> Answer:
    """The live profile of this identifier: its id, traits but for private ones, totals and segments. No value where
    nobody has it."""
    key = Identifiers(definitions, profile_ids.hide).key(call.namespace, call.value)
    if key is None:
        return Answer()
    cursor = await connection.execute(
        "with live as (select coalesce(p.merged_into, p.id) as id from identifiers i join profiles p "
        "on p.id = i.profile_id where i.namespace = %s and i.value = %s) "
        "select live.id::text, coalesce((select jsonb_object_agg(t.key, t.value->0) from jsonb_each(s.traits) t), "
        "'{}')::text, coalesce(s.totals, '{}')::text, array(select distinct segment from memberships m "
        "where m.profile_id = live.id order by 1) from live left join profile_traits s on s.profile_id = live.id",
        key,
    )
    row = await cursor.fetchone()
    if row is None:
        return Answer()
    id, traits, totals, segments = row
    public = {
        name: value for name, value in msgspec.json.decode(traits).items() if name not in definitions.private_traits
    }
    return Answer({"id": id, "traits": public, "totals": msgspec.json.decode(totals), "segments": segments})
