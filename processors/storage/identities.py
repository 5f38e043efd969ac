"""Sessions, identifiers and the birth of profiles: identify's tables."""

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any

from processors.runner.failures import Unavailable
from processors.storage.database import Connection, as_json, uuids
from processors.storage.refused import RefusedIdentifier, note_refused
from processors.storage.visits import VisitTimers
from workflows.identification import IdentifierKey
from workflows.known import Birth, Known, SessionKey, Sighting, Stored, Visit
from workflows.resolution import Resolution

_LIVE = (
    "join profiles born on born.id = found.profile_id "
    "join profiles live on live.id = coalesce(born.merged_into, born.id)"
)


class Identities:
    """What is known about who is who, and what a batch adds to it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(
        self, sessions: Collection[SessionKey], identifiers: Collection[IdentifierKey], profiles: Collection[str]
    ) -> Known:
        """Everything stored about these, pointers followed."""
        found = await self._sessions(sessions)
        return Known(
            sessions={(source, id): Birth(*birth) for source, id, *birth, _, _, _ in found},
            visits={(source, id): Visit(*visit) for source, id, _, _, *visit in found},
            identifiers=await self._identifiers(identifiers),
            profiles={id: Birth(*birth) for id, *birth in await self._profiles(profiles)},
        )

    async def _sessions(self, keys: Collection[SessionKey]) -> Sequence[tuple[Any, ...]]:
        return await self._pairs(
            "select found.source, found.id, live.id::text, live.created_at, found.started_at, "
            "coalesce(found.last_at, found.started_at), found.ended_at "
            "from jsonb_to_recordset(%s::jsonb) as k(one text, two text) "
            f"join sessions found on found.source = k.one and found.id = k.two {_LIVE}",
            keys,
        )

    async def _identifiers(self, keys: Collection[IdentifierKey]) -> dict[IdentifierKey, Stored]:
        rows = await self._pairs(
            "select found.namespace, found.value, live.id::text, live.created_at, found.linked_at, "
            "coalesce(found.last_seen, found.linked_at), found.verified "
            "from jsonb_to_recordset(%s::jsonb) as k(one text, two text) "
            f"join identifiers found on found.namespace = k.one and found.value = k.two {_LIVE}",
            keys,
        )
        return {
            (namespace, value): Stored(Birth(id, created_at), Sighting(*seen))
            for namespace, value, id, created_at, *seen in rows
        }

    async def values(self, profiles: Collection[str]) -> dict[str, dict[str, set[str]]]:
        """The identifiers of these live profiles, of all that were merged into them, and of those with whom merge is
        still asked to make them one: values by namespace."""
        found: dict[str, dict[str, set[str]]] = {}
        cursor = await self._connection.execute(
            "with recursive near (root, id) as (select id, id from unnest(%s::uuid[]) id "
            "union select near.root, coalesce(p.merged_into, p.id) from near "
            "join asked_joins j on j.profile_id = near.id join profiles p on p.id = j.other_id), "
            "part (root, id) as (select root, id from near "
            "union select near.root, p.id from near join profiles p on p.merged_into = near.id) "
            "select part.root::text, i.namespace, i.value from part join identifiers i on i.profile_id = part.id",
            (uuids(profiles),),
        )
        for live, namespace, value in await cursor.fetchall():
            found.setdefault(live, {}).setdefault(namespace, set()).add(value)
        return found

    async def apart(self, profiles: Collection[str]) -> dict[str, set[str]]:
        """From whom, live now, an operator has parted each of these live profiles."""
        if not (await self._connection.execute("select from kept_apart limit 1")).rowcount:
            return {}  # as nearly everywhere; else each id is looked up
        cursor = await self._connection.execute(
            "select coalesce(p.merged_into, p.id)::text, coalesce(o.merged_into, o.id)::text from profiles p "
            "join kept_apart k on k.profile_id = p.id join profiles o on o.id = k.other_id "
            "where p.id = any(%(ids)s::uuid[]) or p.merged_into = any(%(ids)s::uuid[])",
            {"ids": uuids(profiles)},
        )
        found: dict[str, set[str]] = {}
        for profile, other in await cursor.fetchall():
            found.setdefault(profile, set()).add(other)
        return found

    async def _pairs(self, query: str, keys: Collection[tuple[str, str]]) -> Sequence[tuple[Any, ...]]:
        if not keys:
            return []
        cursor = await self._connection.execute(
            query.encode(), (as_json([{"one": one, "two": two} for one, two in keys]),)
        )
        return await cursor.fetchall()

    async def _profiles(self, ids: Collection[str]) -> Sequence[tuple[Any, ...]]:
        if not ids:
            return []
        cursor = await self._connection.execute(
            "select born.id::text, live.id::text, live.created_at from profiles born "
            "join profiles live on live.id = coalesce(born.merged_into, born.id) where born.id = any(%s::uuid[])",
            (uuids(ids),),
        )
        return await cursor.fetchall()

    async def store(
        self, resolution: Resolution, known: Known, others: Collection[str] = ()
    ) -> dict[IdentifierKey, str]:
        """Write what was resolved. Returns identifiers that another lane linked meanwhile, with their live profile.

        `others` get something from whoever calls, in the same transaction. Raises Unavailable where another lane gave a
        person another value of a namespace in which people have one, and where somebody who gets something was erased
        or merged since they were looked up.
        """
        await self._create_profiles(resolution)
        getting = (resolution.sessions.values(), (link.profile for link in resolution.links.values()), others)
        await self._hold({*chain(*getting), *(refused.profile for refused in resolution.refused)})
        await self._link_sessions(resolution, known)
        await self._prolong_visits(resolution)
        await VisitTimers(self._connection).start(resolution.timers)
        taken = await self._link_identifiers(resolution)
        await self._see_again(resolution)
        await self._ask_to_join(resolution)
        await self._refuse(resolution)
        return taken

    async def _create_profiles(self, resolution: Resolution) -> None:
        if resolution.new_profiles:
            rows = [{"id": birth.id, "created_at": birth.created_at} for birth in resolution.new_profiles.values()]
            await self._connection.execute(
                "insert into profiles (id, created_at) "
                "select id, created_at from jsonb_to_recordset(%s::jsonb) as r(id uuid, created_at timestamptz) "
                "order by id on conflict do nothing",
                (as_json(rows),),
            )

    async def _hold(self, profiles: Collection[str]) -> None:
        """Keep those who get something from being erased, or becoming part of another, who may have what they must not
        get as well."""
        if profiles:
            cursor = await self._connection.execute(
                "select merged_into from profiles where id = any(%s::uuid[]) order by id for share", (uuids(profiles),)
            )
            if [into for (into,) in await cursor.fetchall()] != [None] * len(profiles):
                raise Unavailable("a profile is gone")

    async def _link_sessions(self, resolution: Resolution, known: Known) -> None:
        """Sessions that are new, or another's now."""
        if not resolution.sessions:
            return
        first = {(e.source, e.session): e for e in reversed(resolution.events) if e is not None and e.save}
        rows = [
            {
                **_visit_row(key, known.visits[key]),
                "profile_id": profile,
                "context": first[key].context if key in first else None,
            }
            for key, profile in resolution.sessions.items()
        ]
        await self._connection.execute(
            "insert into sessions as s (source, id, profile_id, context, started_at, last_at, ended_at) "
            'select source, id, profile_id, context, started, "last", ended '
            f"from jsonb_to_recordset(%s::jsonb) as r({_VISIT}, profile_id uuid, context jsonb) order by source, id "
            "on conflict (source, id) do update set profile_id = excluded.profile_id, "
            "started_at = least(s.started_at, excluded.started_at), last_at = greatest(s.last_at, excluded.last_at), "
            "ended_at = greatest(s.ended_at, excluded.ended_at)",
            (as_json(rows),),
        )

    async def _prolong_visits(self, resolution: Resolution) -> None:
        """Sessions that go on. A session is one lane's: nobody else locks its row."""
        longer = {key: visit for key, visit in resolution.visits.items() if key not in resolution.sessions}
        if longer:
            await self._connection.execute(
                "update sessions s set started_at = least(s.started_at, r.started), "
                'last_at = greatest(s.last_at, r."last"), ended_at = greatest(s.ended_at, r.ended) '
                f"from jsonb_to_recordset(%s::jsonb) as r({_VISIT}) where s.source = r.source and s.id = r.id",
                (as_json([_visit_row(key, visit) for key, visit in longer.items()]),),
            )

    async def _link_identifiers(self, resolution: Resolution) -> dict[IdentifierKey, str]:
        if not resolution.links:
            return {}
        rows = [
            {
                **_identifier_row(key, link.seen),
                "profile_id": link.profile,
                "source": link.event.source,
                "event_id": link.event.id,
                "sole": link.sole,
            }
            for key, link in resolution.links.items()
        ]
        cursor = await self._connection.execute(
            "insert into identifiers "
            "(namespace, value, profile_id, source, event_id, linked_at, last_seen, verified, sole) "
            'select namespace, value, profile_id, source, event_id, "first", "last", verified, sole '
            f"from jsonb_to_recordset(%s::jsonb) as r({_SEEN}, profile_id uuid, source text, event_id text, "
            "sole boolean) "
            "order by namespace, value on conflict do nothing returning namespace, value",
            (as_json(rows),),
        )
        linked = {(namespace, value) for namespace, value in await cursor.fetchall()}
        lost = [key for key in resolution.links if key not in linked]
        taken = {key: stored.owner.id for key, stored in (await self._identifiers(lost)).items()}
        if len(taken) < len(lost):
            raise Unavailable("another lane named this person")
        return taken

    async def _see_again(self, resolution: Resolution) -> None:
        """Rows are locked in order first: lanes see the same identifiers again."""
        if resolution.seen:
            await self._connection.execute(
                f"with seen as (select * from jsonb_to_recordset(%s::jsonb) as r({_SEEN})), "
                "mine as (select i.namespace, i.value from identifiers i join seen using (namespace, value) "
                "order by i.namespace, i.value for update of i) "
                'update identifiers i set linked_at = least(i.linked_at, seen."first"), '
                'last_seen = greatest(i.last_seen, seen."last"), verified = i.verified or seen.verified '
                "from mine join seen using (namespace, value) "
                "where i.namespace = mine.namespace and i.value = mine.value",
                (as_json([_identifier_row(key, seen) for key, seen in resolution.seen.items()]),),
            )

    async def _ask_to_join(self, resolution: Resolution) -> None:
        if resolution.joins:
            rows = [{"p": p, "o": o} for one, other in resolution.joins for p, o in ((one, other), (other, one))]
            await self._connection.execute(
                "insert into asked_joins (profile_id, other_id) "
                "select p, o from jsonb_to_recordset(%s::jsonb) as r(p uuid, o uuid) "
                "order by p, o on conflict do nothing",
                (as_json(rows),),
            )

    async def _refuse(self, resolution: Resolution) -> None:
        refused = [
            RefusedIdentifier(*one.key, one.profile, one.reason, one.event.source, one.event.id, one.event.received_at)
            for one in resolution.refused
        ]
        await note_refused(self._connection, refused)


_SEEN = 'namespace text, value text, "first" timestamptz, "last" timestamptz, verified boolean'


_VISIT = 'source text, id text, started timestamptz, "last" timestamptz, ended timestamptz'


def _visit_row(key: SessionKey, visit: Visit) -> dict[str, Any]:
    return {"source": key[0], "id": key[1], "started": visit.started, "last": visit.last, "ended": visit.ended}


def _identifier_row(key: IdentifierKey, seen: Sighting) -> dict[str, Any]:
    return {"namespace": key[0], "value": key[1], "first": seen.first, "last": seen.last, "verified": seen.verified}
