"""What follows from profiles' events, made anew, in whoever's transaction calls, with the profiles locked."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from processors.storage.database import Connection, as_json, uuids
from processors.storage.runs import Traits
from schemas.definitions.identity import Strategy
from schemas.origin import Origin
from workflows.changes import Change, Merged, Ran, made_anew
from workflows.profile import place_of

_ORIGIN = "(origin_partition, origin_offset, origin_ordinal)"
_COUNTED_ANEW = (
    "delete from profile_counters where profile_id = any(%(ids)s::uuid[])",
    "insert into profile_counters (profile_id, type, count, first_at, last_at) "
    "select %(live)s, type, count(*), min(occurred_at), max(occurred_at) from events "
    "where profile_id = any(%(ids)s::uuid[]) group by type",
    "delete from profile_days where profile_id = any(%(ids)s::uuid[])",
    "insert into profile_days (profile_id, type, day, count) "
    "select %(live)s, e.type, (e.occurred_at at time zone 'UTC')::date, count(*) from events e "
    "join windowed_types w on w.type = e.type where e.profile_id = any(%(ids)s::uuid[]) group by 2, 3",
)


class _Kept(Ran, frozen=True, kw_only=True):
    """A run as it is kept: of which event, when, as which of its batch's; `time` is that of one that had waited."""

    origin: Origin
    ran_at: datetime
    order: int
    time: datetime | None


class Remaking:
    """Makes a profile of its own and its members' events alone, as if there had never been others."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def make(self, live: str, members: Collection[str], strategies: Mapping[str, Strategy]) -> None:
        """Everything that follows from a profile's events: counters, days, traits, totals, what workflows said."""
        values = {"live": live, "ids": uuids(members)}
        for statement in _COUNTED_ANEW:
            await self._connection.execute(statement.encode(), values)
        happened = await self._happened(members)
        state, segments, log = made_anew(happened, strategies)
        await self._keep([one for one in happened if isinstance(one, _Kept)], log)
        await self._connection.execute("delete from profile_traits where profile_id = any(%(ids)s::uuid[])", values)
        await Traits(self._connection).store({live: state})
        await self._connection.execute(
            "delete from memberships where profile_id = any(%(ids)s::uuid[]) and origin <> 'rule'", values
        )
        said = sorted(one for one, member in segments.items() if member)
        await self._connection.execute(
            "insert into memberships (profile_id, segment, origin) "
            "select %s, s, o from unnest(%s::text[], %s::text[]) as r(s, o)",
            (live, [segment for segment, _ in said], [origin for _, origin in said]),
        )

    async def _keep(self, runs: Sequence[_Kept], log: Sequence[Sequence[Change]]) -> None:
        """What was there before a change, and after it, was made of both: it must not outlive one who is erased."""
        changed = [(run, changes) for run, changes in zip(runs, log, strict=True) if changes != run.changes]
        await self._rewrite("workflow_runs", [one for one in changed if one[0].time is None])
        await self._rewrite("run_parts", [one for one in changed if one[0].time is not None])

    async def _rewrite(self, table: str, changed: Iterable[tuple[_Kept, Sequence[Change]]]) -> None:
        rows = [
            {**msgspec.structs.asdict(run.origin), "ran_at": run.ran_at, "place": run.order, "changes": changes}
            for run, changes in changed
        ]
        await self._connection.execute(
            f"update {table} r set changes = k.changes from jsonb_to_recordset(%s::jsonb) as k(partition int, "
            '"offset" bigint, ordinal int, ran_at timestamptz, place int, changes jsonb) '
            f'where {_ORIGIN} = (k.partition, k."offset", k.ordinal) and (r.ran_at, r.place) = (k.ran_at, k.place)',
            (as_json(rows),),
        )

    async def _happened(self, members: Collection[str]) -> list[Ran | Merged]:
        cursor = await self._connection.execute(
            "select r.ran_at, r.place, r.at, e.profile_id::text, "
            "(extract(epoch from coalesce(r.at, e.occurred_at)) * 1000000)::bigint, "
            "e.id, origin_partition, origin_offset, origin_ordinal, "
            "coalesce(r.at, e.occurred_at) = e.occurred_at and e.occurred_at = e.received_at, r.changes "
            f"from events e join run_changes r using {_ORIGIN} where e.profile_id = any(%s::uuid[])",
            (uuids(members),),
        )
        found: list[tuple[datetime, int, Ran | Merged]] = [
            (
                at,
                order,
                _Kept(
                    profile,
                    occurred,
                    id,
                    changes,
                    place_of(Origin(*origin), ours),
                    origin=Origin(*origin),
                    ran_at=at,
                    order=order,
                    time=time,
                ),
            )
            for at, order, time, profile, occurred, id, *origin, ours, changes in await cursor.fetchall()
        ]
        cursor = await self._connection.execute(
            "select merged_at, survivor::text, absorbed::text from merges where undone_at is null "
            "and survivor = any(%(ids)s::uuid[]) and absorbed = any(%(ids)s::uuid[]) order by id",
            {"ids": uuids(members)},
        )
        found += [(at, -1, Merged(survivor, absorbed)) for at, survivor, absorbed in await cursor.fetchall()]
        return [one for *_, one in sorted(found, key=lambda one: one[:2])]
