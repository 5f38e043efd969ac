"""Sessions, identifiers and the birth of profiles: identify's tables."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from processors.storage.database import Connection, as_json, uuids
from schemas.events import ValidEvent
from workflows.resolution import Birth, IdentifierKey, Known, Resolution, SessionKey

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
        return Known(
            sessions={(source, id): Birth(*birth) for source, id, *birth in await self._sessions(sessions)},
            identifiers={(ns, value): Birth(*birth) for ns, value, *birth in await self._identifiers(identifiers)},
            profiles={id: Birth(*birth) for id, *birth in await self._profiles(profiles)},
        )

    async def _sessions(self, keys: Collection[SessionKey]) -> Sequence[tuple[Any, ...]]:
        return await self._pairs(
            "select found.source, found.id, live.id::text, live.created_at "
            "from jsonb_to_recordset(%s::jsonb) as k(one text, two text) "
            f"join sessions found on found.source = k.one and found.id = k.two {_LIVE}",
            keys,
        )

    async def _identifiers(self, keys: Collection[IdentifierKey]) -> Sequence[tuple[Any, ...]]:
        return await self._pairs(
            "select found.namespace, found.value, live.id::text, live.created_at "
            "from jsonb_to_recordset(%s::jsonb) as k(one text, two text) "
            f"join identifiers found on found.namespace = k.one and found.value = k.two {_LIVE}",
            keys,
        )

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

    async def store(self, resolution: Resolution, events: Iterable[ValidEvent]) -> dict[IdentifierKey, str]:
        """Write what was resolved. Returns identifiers that another lane linked meanwhile, with their live profile."""
        await self._create_profiles(resolution)
        await self._link_sessions(resolution, events)
        return await self._link_identifiers(resolution)

    async def _create_profiles(self, resolution: Resolution) -> None:
        if resolution.new_profiles:
            rows = [{"id": birth.id, "created_at": birth.created_at} for birth in resolution.new_profiles.values()]
            await self._connection.execute(
                "insert into profiles (id, created_at) "
                "select id, created_at from jsonb_to_recordset(%s::jsonb) as r(id uuid, created_at timestamptz) "
                "order by id on conflict do nothing",
                (as_json(rows),),
            )

    async def _link_sessions(self, resolution: Resolution, events: Iterable[ValidEvent]) -> None:
        if not resolution.sessions:
            return
        first = {(event.source, event.session or ""): event for event in reversed(list(events))}
        rows = [
            {
                "source": key[0],
                "id": key[1],
                "profile_id": profile,
                "context": first[key].context if first[key].save else None,
                "started_at": first[key].occurred_at,
            }
            for key, profile in resolution.sessions.items()
        ]
        await self._connection.execute(
            "insert into sessions (source, id, profile_id, context, started_at) "
            "select source, id, profile_id, context, started_at from jsonb_to_recordset(%s::jsonb) "
            "as r(source text, id text, profile_id uuid, context jsonb, started_at timestamptz) order by source, id "
            "on conflict (source, id) do update set profile_id = excluded.profile_id, "
            "started_at = least(sessions.started_at, excluded.started_at)",
            (as_json(rows),),
        )

    async def _link_identifiers(self, resolution: Resolution) -> dict[IdentifierKey, str]:
        if not resolution.links:
            return {}
        rows = [
            {
                "namespace": key[0],
                "value": key[1],
                "profile_id": profile,
                "source": event.source,
                "event_id": event.id,
                "linked_at": event.received_at,
            }
            for key, (profile, event) in resolution.links.items()
        ]
        cursor = await self._connection.execute(
            "insert into identifiers (namespace, value, profile_id, source, event_id, linked_at) "
            "select namespace, value, profile_id, source, event_id, linked_at from jsonb_to_recordset(%s::jsonb) as "
            "r(namespace text, value text, profile_id uuid, source text, event_id text, linked_at timestamptz) "
            "order by namespace, value on conflict do nothing returning namespace, value",
            (as_json(rows),),
        )
        linked = {(namespace, value) for namespace, value in await cursor.fetchall()}
        lost = [key for key in resolution.links if key not in linked]
        return {(ns, value): live for ns, value, live, _ in await self._identifiers(lost)}
