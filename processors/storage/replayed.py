"""Payloads that an archive replay sent: each is taken once, and only where no outcome of it is known."""

from collections.abc import Collection

from processors.storage.database import Connection, as_json
from schemas.origin import Origin

_KEYS = "with k as (select * from jsonb_to_recordset(%s::jsonb) as r(p int, o bigint, n int)) "


def _has_outcome(table: str) -> str:
    """An event has one of its own; a payload as a whole (ordinal -1) has one where any of its events has."""
    return (
        f"exists (select from {table} where origin_partition = p and origin_offset = o "
        "and (n = -1 or origin_ordinal = n))"
    )


class Replayed:
    """What validate asks before it takes a replayed payload."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def claim(self, origins: Collection[Origin]) -> set[Origin]:
        """Those that are to be processed: not known, and not claimed before."""
        cursor = await self._connection.execute(
            f'{_KEYS} insert into replayed_payloads (partition, "offset", ordinal) select p, o, n from k '
            f"where not {_has_outcome('events')} and not {_has_outcome('event_duplicates')} "
            "and not (n = -1 and exists (select from failures f where f.topic = 'tracks' and f.partition = p "
            'and f."offset" = o)) order by p, o, n '
            'on conflict do nothing returning partition, "offset", ordinal'.encode(),
            (as_json([{"p": o.partition, "o": o.offset, "n": o.ordinal} for o in sorted(origins)]),),
        )
        return {Origin(*origin) for origin in await cursor.fetchall()}
