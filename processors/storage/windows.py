"""Windows: events a day and profile, for the event types that windows count, and when segments are due again."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime

from processors.storage.database import Connection, as_json, uuids
from schemas.events import IdentifiedEvent
from workflows.windows import Days


class Windows:
    """Counts by profile, event type and day (UTC)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, events: Iterable[IdentifiedEvent]) -> None:
        """Count these events; whoever calls holds the profiles' locks.

        Which types count is read under those locks: whoever adds a type counts afterwards what was recorded until then.
        """
        cursor = await self._connection.execute("select type from windowed_types")
        windowed = {type for (type,) in await cursor.fetchall()}
        folded: dict[tuple[str, str, date], int] = {}
        for event in events:
            if event.profile is not None and event.type in windowed:
                key = event.profile, event.type, event.occurred_at.date()
                folded[key] = folded.get(key, 0) + 1
        if folded:
            rows = [{"p": p, "t": type, "d": day, "n": count} for (p, type, day), count in folded.items()]
            await self._connection.execute(
                "insert into profile_days as c (profile_id, type, day, count) "
                "select p, t, d, n from jsonb_to_recordset(%s::jsonb) as r(p uuid, t text, d date, n bigint) "
                "order by p, t, d on conflict (profile_id, type, day) do update set count = c.count + excluded.count",
                (as_json(rows),),
            )

    async def load(self, profiles: Collection[str], types: Collection[str], since: date) -> Mapping[str, Days]:
        """Event type and day to the count, of each profile, from a day on."""
        found: dict[str, dict[tuple[str, date], int]] = {profile: {} for profile in profiles}
        if types:
            cursor = await self._connection.execute(
                "select profile_id::text, type, day, count from profile_days "
                "where profile_id = any(%s::uuid[]) and type = any(%s) and day >= %s",
                (uuids(profiles), list(types), since),
            )
            for profile, type, day, count in await cursor.fetchall():
                found[profile][type, day] = count
        return found

    async def set_timers(self, due: Mapping[str, date | datetime | None]) -> None:
        """When each profile is due again; None: not before something happens."""
        rows = [{"p": profile, "d": _moment(at)} for profile, at in sorted(due.items()) if at is not None]
        if rows:
            await self._connection.execute(
                "insert into segment_timers as t (profile_id, due_at) "
                "select p, d from jsonb_to_recordset(%s::jsonb) as r(p uuid, d timestamptz) order by p "
                "on conflict (profile_id) do update set due_at = excluded.due_at where t.due_at <> excluded.due_at",
                (as_json(rows),),
            )
        if idle := sorted(profile for profile, at in due.items() if at is None):
            await self._connection.execute(
                "delete from segment_timers where profile_id = any(%s::uuid[])", (uuids(idle),)
            )

    async def take_due(self, now: datetime, limit: int) -> list[str]:
        """Profiles whose time has come, taken out; others may take theirs meanwhile."""
        cursor = await self._connection.execute(
            "delete from segment_timers where profile_id in (select profile_id from segment_timers where due_at <= %s "
            "order by due_at limit %s for update skip locked) returning profile_id::text",
            (now, limit),
        )
        return [profile for (profile,) in await cursor.fetchall()]

    async def forget(self, limit: int) -> int:
        """Delete days that are older than the longest window, so many rows at most; how many it were."""
        cursor = await self._connection.execute(
            "delete from profile_days where (profile_id, type, day) in (select profile_id, type, day from profile_days "
            "where day <= (now() at time zone 'UTC')::date - (select coalesce(max(days), 0) from windowed_types) "
            "limit %s for update skip locked)",
            (limit,),
        )
        return cursor.rowcount


def _moment(at: date | datetime) -> datetime:
    return at if isinstance(at, datetime) else datetime(at.year, at.month, at.day, tzinfo=UTC)
