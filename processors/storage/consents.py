"""What people agreed to, and events that were dropped because they had not: identify's tables."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from processors.storage.database import Connection, as_json, uuids
from schemas.events import ValidEvent
from schemas.origin import Origin
from workflows.consent import Statement, Statements


class Consents:
    """What each profile has said of each consent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, profiles: Collection[str]) -> dict[str, Statements]:
        """What these profiles have said, and all that are the same person by now: the latest of each consent.

        In one statement: a merge that happens meanwhile either has moved what they said and whom they are part of, or
        neither.
        """
        found: dict[str, Statements] = {profile: {} for profile in profiles}
        if profiles:
            cursor = await self._connection.execute(
                "with asked as (select id, coalesce(merged_into, id) as live from profiles where id = any(%s::uuid[])) "
                "select one.asked::text, c.consent, c.granted, c.at, c.event_id from ("
                "select id as asked, live as said from asked "
                "union all select asked.id, p.id from asked join profiles p on p.merged_into = asked.live"
                ") one join consents c on c.profile_id = one.said order by c.at, c.granted desc, c.event_id",
                (uuids(profiles),),
            )
            for profile, consent, *statement in await cursor.fetchall():
                found[profile][consent] = Statement(*statement)
        return found

    async def store(self, news: Mapping[tuple[str, str], Statement]) -> None:
        """Write what was said, unless something later is there."""
        rows = [
            {"p": profile, "c": consent, "g": statement.granted, "at": statement.at, "e": statement.event}
            for (profile, consent), statement in sorted(news.items())
        ]
        if rows:
            await self._connection.execute(
                "insert into consents as c (profile_id, consent, granted, at, event_id) "
                "select p, c, g, at, e from jsonb_to_recordset(%s::jsonb) "
                "as r(p uuid, c text, g boolean, at timestamptz, e text) order by p, c "
                "on conflict (profile_id, consent) do update set granted = excluded.granted, at = excluded.at, "
                "event_id = excluded.event_id "
                "where (excluded.at, c.granted, excluded.event_id) > (c.at, excluded.granted, c.event_id)",
                (as_json(rows),),
            )

    async def dropped(self, origins: Collection[Origin]) -> set[Origin]:
        """Those of the origins whose events were dropped before: whatever has been said since, they stay dropped."""
        cursor = await self._connection.execute(
            "select origin_partition, origin_offset, origin_ordinal from dropped_events "
            "join jsonb_to_recordset(%s::jsonb) as k(p int, o bigint, n int) "
            "on origin_partition = p and origin_offset = o and origin_ordinal = n",
            (as_json([{"p": o.partition, "o": o.offset, "n": o.ordinal} for o in origins]),),
        )
        return {Origin(*origin) for origin in await cursor.fetchall()}

    async def drop(self, partition: int, events: Sequence[ValidEvent], reason: str = "no_consent") -> None:
        """Note events that were dropped: that they were, and nothing of what they held."""
        rows = [{"p": e.origin.partition, "o": e.origin.offset, "n": e.origin.ordinal, "s": e.source} for e in events]
        if not rows:
            return
        cursor = await self._connection.execute(
            "insert into dropped_events (origin_partition, origin_offset, origin_ordinal, source, reason) "
            "select p, o, n, s, %s from jsonb_to_recordset(%s::jsonb) as r(p int, o bigint, n int, s text) "
            "where not exists (select from events "
            "where origin_partition = p and origin_offset = o and origin_ordinal = n) "
            "order by p, o, n on conflict do nothing returning source",
            (reason, as_json(rows)),
        )
        for source, count in sorted(Counter(source for (source,) in await cursor.fetchall()).items()):
            await self._connection.execute(
                "insert into dropped_counts as c (source, partition, dropped) values (%s, %s, %s) "
                "on conflict (source, partition) do update set dropped = c.dropped + excluded.dropped",
                (source, partition, count),
            )
