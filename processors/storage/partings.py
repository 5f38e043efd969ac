"""Merges undone: the way back of everything that a merge moved, in one transaction, with all profiles locked."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from processors.runner.failures import Poison
from processors.storage.database import Connection, as_json, take_time, uuids
from processors.storage.remaking import Remaking
from schemas.definitions.identity import Strategy
from workflows.identification import IdentifierKey, Identifiers
from workflows.known import SessionKey
from workflows.parting import Division, Happened, IdentifierRow, divide

_ORIGIN = "(origin_partition, origin_offset, origin_ordinal)"


class Parted(msgspec.Struct):
    """A merge that was undone: who left whom, all profiles that left, and how many events went with them."""

    left: str
    stayed: str
    members: list[str]
    events: int


class Partings:
    """Takes a profile out of the one that it is part of."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def merge_of(self, profile: str) -> tuple[int, datetime] | None:
        """The merge by which the profile became part of another, None where it is on its own."""
        cursor = await self._connection.execute(
            "select m.id, m.merged_at from merges m join profiles p on p.id = m.absorbed "
            "where m.absorbed = %s and p.merged_into is not null and m.undone_at is null order by m.id desc limit 1",
            (profile,),
        )
        row = await cursor.fetchone()
        return None if row is None else (row[0], row[1])

    async def part(
        self,
        profile: str,
        stayed: str,
        merge: tuple[int, datetime],
        identifiers: Identifiers,
        strategies: Mapping[str, Strategy],
    ) -> Parted:
        """Undo the merge. `stayed` is the live profile that this one is part of; whoever calls has locked them all.

        Raises Poison where runs of before the change log make it impossible to tell what was whose.
        """
        await take_time(self._connection)
        everybody = await self._everybody(stayed)
        leaving = await self._members(profile) & everybody
        if await self._has_unlogged_runs(everybody):
            raise Poison("no_change_log")
        division = divide(
            leaving,
            stayed,
            await self._events(everybody, merge[1], identifiers),
            await self._sessions(everybody),
            await self._identifiers(everybody),
            await self._joined_by(everybody),
        )
        await self._move(division, profile)
        await self._give_back_runs(everybody)
        leaving |= division.profiles
        await self._point(profile, leaving, merge[0])
        await self._forget_mixtures(everybody, merge)
        remaking = Remaking(self._connection)
        for live, members in ((profile, leaving), (stayed, everybody - leaving)):
            await self._tie(live, members)
            await remaking.make(live, members, strategies)
        await self._take_consents(profile, stayed, merge[0])
        await self._leave_consents(stayed, everybody - leaving)
        await self._keep_apart(profile, stayed)
        return Parted(profile, stayed, sorted(leaving), len(division.events))

    async def _members(self, profile: str) -> set[str]:
        """The profile, and all that had become part of it before it became part of another."""
        cursor = await self._connection.execute(
            "with recursive part (id) as (select %s::uuid union select m.absorbed from merges m "
            "join part on m.survivor = part.id where m.undone_at is null) select id::text from part",
            (profile,),
        )
        return {id for (id,) in await cursor.fetchall()}

    async def _everybody(self, live: str) -> set[str]:
        cursor = await self._connection.execute(
            "select id::text from profiles where id = %(id)s or merged_into = %(id)s", {"id": live}
        )
        return {id for (id,) in await cursor.fetchall()}

    async def _has_unlogged_runs(self, everybody: Collection[str]) -> bool:
        cursor = await self._connection.execute(
            f"select exists (select from events e join workflow_runs r using {_ORIGIN} "
            "where e.profile_id = any(%s::uuid[]) and r.changes is null)",
            (uuids(everybody),),
        )
        return bool((await cursor.fetchone() or (False,))[0])

    async def _events(
        self, everybody: Collection[str], merged_at: datetime, identifiers: Identifiers
    ) -> list[Happened]:
        """All that are recorded. Workflows that have not run yet run for whom the event is recorded under by then."""
        found = []
        async with self._connection.cursor("events of everybody") as cursor:  # what events hold is not kept together
            await cursor.execute(
                "select e.source, e.id, e.profile_id::text, e.session_id, e.recorded_at <= %s, e.type, "
                "coalesce(e.properties, '{}')::text, coalesce(e.context, '{}')::text "
                "from events e where e.profile_id = any(%s::uuid[]) "
                "order by e.received_at, origin_partition, origin_offset, origin_ordinal",
                (merged_at, uuids(everybody)),
            )
            async for source, id, profile, session, early, type, *held in cursor:
                shown = identifiers.shown_in(type, source, *(msgspec.Raw(part.encode()) for part in held))
                keys, logins = [one.key for one in shown], [one.key for one in shown if identifiers.is_login(one)]
                found.append(Happened(source, id, profile, session, early, tuple(keys), tuple(logins)))
        return found

    async def _sessions(self, everybody: Collection[str]) -> dict[SessionKey, str]:
        cursor = await self._connection.execute(
            "select source, id, profile_id::text from sessions where profile_id = any(%s::uuid[])",
            (uuids(everybody),),
        )
        return {(source, id): profile for source, id, profile in await cursor.fetchall()}

    async def _identifiers(self, everybody: Collection[str]) -> dict[IdentifierKey, IdentifierRow]:
        cursor = await self._connection.execute(
            "select namespace, value, profile_id::text, source, event_id from identifiers "
            "where profile_id = any(%s::uuid[])",
            (uuids(everybody),),
        )
        return {
            (namespace, value): IdentifierRow(profile, (source, event))
            for namespace, value, profile, source, event in await cursor.fetchall()
        }

    async def _joined_by(self, everybody: Collection[str]) -> dict[str, str]:
        cursor = await self._connection.execute(
            "select absorbed::text, event_id from merges where absorbed = any(%s::uuid[]) and undone_at is null",
            (uuids(everybody),),
        )
        return dict(await cursor.fetchall())

    async def _move(self, division: Division, profile: str) -> None:
        pairs: dict[str, Iterable[Sequence[str]]] = {
            "update events set profile_id = %s from r where source = r.one and id = r.two": (
                (event.source, event.id) for event in division.events
            ),
            "update sessions set profile_id = %s from r where source = r.one and id = r.two": division.sessions,
            "update identifiers set profile_id = %s from r where namespace = r.one and value = r.two": (
                division.identifiers
            ),
        }
        for update, keys in pairs.items():
            await self._connection.execute(
                f"with r as (select * from jsonb_to_recordset(%s::jsonb) as k(one text, two text)) {update}".encode(),
                (as_json([{"one": one, "two": two} for one, two in keys]), profile),
            )

    async def _give_back_runs(self, everybody: Collection[str]) -> None:
        """Each run that waits to whom its event is of: whatever went on while they were one was written as the
        survivor's, whosever the event is."""
        await self._connection.execute(
            "update parked_runs p set profile_id = e.profile_id from events e where p.profile_id = any(%s::uuid[]) "
            "and p.profile_id <> e.profile_id and (p.origin_partition, p.origin_offset, p.origin_ordinal) = "
            "(e.origin_partition, e.origin_offset, e.origin_ordinal)",
            (uuids(everybody),),
        )

    async def _point(self, profile: str, leaving: Collection[str], merge: int) -> None:
        await self._connection.execute(
            "update profiles set merged_into = nullif(%s::uuid, id) where id = any(%s::uuid[])",
            (profile, uuids(leaving)),
        )
        await self._connection.execute("update merges set undone_at = now() where id = %s", (merge,))

    async def _forget_mixtures(self, everybody: Collection[str], merge: tuple[int, datetime]) -> None:
        """What those were who became part of others later may hold what is another's now, who may be erased."""
        await self._connection.execute(
            "update merges set before = before - '{traits,totals,counters}'::text[] "
            "where absorbed = any(%s::uuid[]) and id <> %s and merged_at >= %s",
            (uuids(everybody), *merge),
        )

    async def _tie(self, live: str, members: Collection[str]) -> None:
        """Those of one side that had become part of somebody who is on the other one now: part of whom they stay."""
        await self._connection.execute(
            "update merges set survivor = %(live)s where absorbed = any(%(ids)s::uuid[]) "
            "and survivor <> all(%(ids)s::uuid[]) and undone_at is null",
            {"live": live, "ids": uuids(members)},
        )

    async def _take_consents(self, profile: str, stayed: str, merge: int) -> None:
        """Whoever leaves has what it had said; and what was refused since, for one of the two refused it."""
        await self._connection.execute(
            "insert into consents (profile_id, consent, granted, at, event_id) "
            "select %(profile)s::uuid, k.consent, k.granted, k.at, k.event_id from merges m, jsonb_to_recordset("
            "m.before->'consents') as k(consent text, granted boolean, at timestamptz, event_id text) "
            "where m.id = %(merge)s "
            "union all select %(profile)s, consent, granted, at, event_id from consents "
            "where profile_id = %(stayed)s and not granted order by granted on conflict do nothing",
            {"profile": profile, "stayed": stayed, "merge": merge},
        )

    async def _leave_consents(self, stayed: str, members: Collection[str]) -> None:
        """The survivor keeps every refusal, and of the grants those that it gave itself, as far as that can be told.
        One that the leaver gave may have taken the place of a refusal: it becomes one."""
        await self._connection.execute(
            "update consents c set granted = false where c.profile_id = %s and c.granted and not exists "
            "(select from events e where e.id = c.event_id and e.profile_id = any(%s::uuid[]))",
            (stayed, uuids(members)),
        )

    async def _keep_apart(self, one: str, other: str) -> None:
        await self._connection.execute(
            "insert into kept_apart (profile_id, other_id) values (%(one)s, %(other)s), (%(other)s, %(one)s) "
            "on conflict do nothing",
            {"one": one, "other": other},
        )
