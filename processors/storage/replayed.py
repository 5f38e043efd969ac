"""Payloads that are sent again: of what comes from the archive only what has no outcome, of what failed each attempt
once."""

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
            f"and not {_has_outcome('dropped_events')} "
            "and not (n = -1 and exists (select from failures f where f.topic = 'tracks' and f.partition = p "
            'and f."offset" = o)) '
            "and not exists (select from failures f where f.topic = 'tracks' and f.partition = p "
            "and f.\"offset\" = o and f.ordinal = n and f.state = 'dropped') order by p, o, n "
            'on conflict do nothing returning partition, "offset", ordinal'.encode(),
            (as_json([{"p": o.partition, "o": o.offset, "n": o.ordinal} for o in sorted(origins)]),),
        )
        return {Origin(*origin) for origin in await cursor.fetchall()}

    async def take(self, attempts: Collection[tuple[Origin, int]]) -> set[tuple[Origin, int]]:
        """Those that nobody has taken before: an operator's command that died may send some twice."""
        rows = [{"p": o.partition, "o": o.offset, "n": o.ordinal, "a": attempt} for o, attempt in sorted(attempts)]
        cursor = await self._connection.execute(
            'insert into taken_attempts (partition, "offset", ordinal, attempt) '
            "select p, o, n, a from jsonb_to_recordset(%s::jsonb) as r(p int, o bigint, n int, a int) "
            "order by p, o, n, a "
            'on conflict do nothing returning partition, "offset", ordinal, attempt',
            (as_json(rows),),
        )
        return {(Origin(partition, offset, ordinal), a) for partition, offset, ordinal, a in await cursor.fetchall()}

    async def note(self, resent: Collection[tuple[Origin, int, int]]) -> None:
        """Each of these origins came in again, in this partition and at this offset: the archive has it there too."""
        await self._connection.execute(
            'insert into resent_places (partition, "offset", ordinal, at_partition, at_offset) '
            "select p, o, n, q, a from jsonb_to_recordset(%s::jsonb) as r(p int, o bigint, n int, q int, a bigint) "
            "order by p, o, n, q, a on conflict do nothing",
            (
                as_json(
                    [
                        {"p": origin.partition, "o": origin.offset, "n": origin.ordinal, "q": partition, "a": offset}
                        for origin, partition, offset in resent
                    ]
                ),
            ),
        )
