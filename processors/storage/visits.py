"""When visits are over because nothing more was heard, and sessions that are old enough to be forgotten."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from processors.storage.database import Connection, as_json
from workflows.known import SessionKey


class IdleVisit(msgspec.Struct, frozen=True):
    """A session of which nothing was heard since."""

    source: str
    session: str
    profile: str
    last_at: datetime


class VisitTimers:
    """When to look whether a visit is over; for the sessions of sources that ask."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start(self, timers: Mapping[SessionKey, timedelta]) -> None:
        """Look at these sessions after so long by our clock: what they sent until now may still be on its way. Those
        that have a timer keep it."""
        rows = [{"s": source, "i": id, "idle": idle.total_seconds()} for (source, id), idle in timers.items()]
        if rows:
            await self._connection.execute(
                "insert into visit_timers (source, session_id, due_at) "
                "select s, i, now() + make_interval(secs => idle) "
                "from jsonb_to_recordset(%s::jsonb) as r(s text, i text, idle double precision) "
                "order by 1, 2 on conflict do nothing",
                (as_json(rows),),
            )

    async def _wait(self, until: Mapping[SessionKey, datetime]) -> None:
        rows = [{"s": source, "i": id, "due": due} for (source, id), due in until.items()]
        if rows:
            await self._connection.execute(
                "insert into visit_timers (source, session_id, due_at) select s, i, due "
                "from jsonb_to_recordset(%s::jsonb) as r(s text, i text, due timestamptz) "
                "order by 1, 2 on conflict do nothing",
                (as_json(rows),),
            )

    async def take_due(self, now: datetime, idle: Mapping[str, timedelta], limit: int) -> list[IdleVisit]:
        """Visits that are over by `idle`, source to how long nothing may be heard. Their timers are taken out; where
        more was heard meanwhile they are set anew. Visits that were said to be over are left out, as are those of
        sources that are not named."""
        cursor = await self._connection.execute(
            "with due as (delete from visit_timers where (source, session_id) in (select source, session_id "
            "from visit_timers where due_at <= %s order by due_at limit %s for update skip locked) "
            "returning source, session_id) "
            "select s.source, s.id, coalesce(p.merged_into, p.id)::text, coalesce(s.last_at, s.started_at) from due "
            "join sessions s on s.source = due.source and s.id = due.session_id join profiles p on p.id = s.profile_id "
            "where s.ended_at is null",
            (now, limit),
        )
        open = [IdleVisit(*row) for row in await cursor.fetchall() if row[0] in idle]
        over = [visit for visit in open if visit.last_at + idle[visit.source] <= now]
        await self._wait({(v.source, v.session): v.last_at + idle[v.source] for v in open if v not in over})
        return over


async def forget_sessions(
    connection: Connection, source: str, since: datetime, after: str, limit: int
) -> tuple[int, str | None]:
    """Look at the next `limit` sessions of a source behind the id `after`, and delete those of which nothing was heard
    since the moment given, nor by our clock anything known then. How many it was, and the last id that was looked at,
    None at the end. That their people had visits is kept."""
    cursor = await connection.execute(
        _FORGET.encode(), {"source": source, "since": since, "after": after, "limit": limit}
    )
    row = await cursor.fetchone()
    return (0, None) if row is None else (row[0], row[1])


_OLD = "coalesce(s.last_at, s.started_at) < %(since)s and s.seen_at < %(since)s"
_FORGET = (
    "with page as (select id from sessions where source = %(source)s and id > %(after)s order by id limit %(limit)s), "
    f"gone as (delete from sessions s using page where s.source = %(source)s and s.id = page.id and {_OLD} "
    "returning s.id, s.profile_id, s.started_at), "
    "watched as (delete from visit_timers t using gone where t.source = %(source)s and t.session_id = gone.id), "
    "visits as (select profile_id, count(*) as count, min(started_at) as first_at, max(started_at) as last_at "
    "from gone group by profile_id order by profile_id), "
    "noted as (insert into past_visits as p (profile_id, count, first_at, last_at) "
    "select profile_id, count, first_at, last_at from visits on conflict (profile_id) do update set "
    "count = p.count + excluded.count, first_at = least(p.first_at, excluded.first_at), "
    "last_at = greatest(p.last_at, excluded.last_at)) "
    "select (select count(*) from gone), (select max(id) from page)"
)
