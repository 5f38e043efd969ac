"""What moves to the survivor of a merge, in the merge's transaction: rows of the tables of other stages."""

from processors.storage.database import Connection


class Moving:
    """Each method takes a JSON list of `{"a": absorbed, "s": survivor}`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def counters(self, rows: str) -> None:
        await self._connection.execute(
            "with map as (select * from jsonb_to_recordset(%s::jsonb) as r(a uuid, s uuid)), "
            "gone as (delete from profile_counters c using map where c.profile_id = map.a "
            "returning map.s, c.type, c.count, c.first_at, c.last_at) "
            "insert into profile_counters as c (profile_id, type, count, first_at, last_at) "
            "select s, type, sum(count), min(first_at), max(last_at) from gone group by s, type order by s, type "
            "on conflict (profile_id, type) do update set count = c.count + excluded.count, "
            "first_at = least(c.first_at, excluded.first_at), last_at = greatest(c.last_at, excluded.last_at)",
            (rows,),
        )

    async def days(self, rows: str) -> None:
        await self._connection.execute(
            "with map as (select * from jsonb_to_recordset(%s::jsonb) as r(a uuid, s uuid)), "
            "gone as (delete from profile_days c using map where c.profile_id = map.a "
            "returning map.s, c.type, c.day, c.count) "
            "insert into profile_days as c (profile_id, type, day, count) "
            "select s, type, day, sum(count) from gone group by s, type, day order by s, type, day "
            "on conflict (profile_id, type, day) do update set count = c.count + excluded.count",
            (rows,),
        )

    async def memberships(self, rows: str) -> None:
        """What workflows and models said stays said; what conditions say is evaluated anew for the survivor."""
        await self._connection.execute(
            "with map as (select * from jsonb_to_recordset(%s::jsonb) as r(a uuid, s uuid)), "
            "gone as (delete from memberships m using map where m.profile_id = map.a "
            "returning map.s, m.segment, m.origin, m.since) "
            "insert into memberships (profile_id, segment, origin, since) "
            "select s, segment, origin, min(since) from gone where origin <> 'rule' group by s, segment, origin "
            "order by s, segment on conflict do nothing",
            (rows,),
        )

    async def consents(self, rows: str) -> None:
        """Of what both have said the stricter stays; of two that say the same, the later."""
        await self._connection.execute(
            "with map as (select * from jsonb_to_recordset(%s::jsonb) as r(a uuid, s uuid)), "
            "gone as (delete from consents c using map where c.profile_id = map.a "
            "returning map.s, c.consent, c.granted, c.at, c.event_id), "
            "strictest as (select distinct on (s, consent) * from gone "
            "order by s, consent, granted, at desc, event_id desc) "
            "insert into consents as c (profile_id, consent, granted, at, event_id) "
            "select s, consent, granted, at, event_id from strictest order by s, consent "
            "on conflict (profile_id, consent) do update set granted = excluded.granted, at = excluded.at, "
            "event_id = excluded.event_id where c.granted and not excluded.granted or c.granted = excluded.granted "
            "and (excluded.at, excluded.event_id) > (c.at, c.event_id)",
            (rows,),
        )
