"""Recorded events as rules see them: with what is known of their profiles now."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import psycopg
from psycopg.rows import DictRow

from processors.storage.consents import Consents
from processors.storage.events import Counters
from processors.storage.runs import Traits
from schemas.events import AcceptedEvent
from schemas.origin import Origin
from workflows.consent import given
from workflows.definitions import Definitions
from workflows.lookup import looked_up

#: What `accepted` reads, of events `e` whose content is there.
COLUMNS = """
select e.id, encode(e.fingerprint, 'hex') as fingerprint, e.source, e.type, e.session_id, e.occurred_at, e.received_at,
       e.origin_partition as p, e.origin_offset as o, e.origin_ordinal as n, e.hops, e.revision,
       coalesce(p.merged_into, e.profile_id)::text as profile,
       e.properties::text as properties, e.context::text as context
from events e left join profiles p on p.id = e.profile_id
where e.saved
"""


async def accepted(
    connection: psycopg.AsyncConnection[tuple[object, ...]], rows: Sequence[DictRow], definitions: Definitions
) -> list[AcceptedEvent]:
    """The events of these rows, with counters, consents and looked-up traits of their profiles as they are now."""
    profiles, now = {row["profile"] for row in rows if row["profile"]}, datetime.now(UTC)
    counters, states = await Counters(connection).load(profiles), await Traits(connection).load(profiles)
    said = await Consents(connection).load(profiles)
    lookups = {source.id: source.lookup for source in definitions.sources.values()}
    return [
        AcceptedEvent(
            origin=Origin(row["p"], row["o"], row["n"]),
            id=row["id"],
            fingerprint=row["fingerprint"],
            source=row["source"],
            type=row["type"],
            session=row["session_id"],
            profile=row["profile"],
            occurred_at=row["occurred_at"],
            received_at=row["received_at"],
            properties=msgspec.Raw(row["properties"].encode()),
            context=msgspec.Raw(row["context"].encode()),
            hops=row["hops"],
            revision=row["revision"],
            counters=counters.get(row["profile"] or "", {}),
            traits=looked_up(states[row["profile"]], lookups.get(row["source"], ())) if row["profile"] else {},
            consents=given(said[row["profile"]], now, definitions) if row["profile"] else {},
        )
        for row in rows
    ]
