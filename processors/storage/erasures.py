"""Erasing people: everything that is stored of one goes, and what must not come back is known by hashes."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import msgspec

from processors.storage.database import Connection, uuids

#: Makes the keyed hash of a value of a namespace.
Hide = Callable[[str, str], str]


class Erased(msgspec.Struct):
    """A person who was erased: all profiles that they were, and what went with them."""

    profiles: list[str]
    events: int
    failures: int


class Erasures:
    """Erases, and knows who was erased."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def known(self, profiles: Collection[str], hashes: Collection[str] = ()) -> Mapping[str, datetime]:
        """When each of these profiles, and of these hashed keys, was erased, of those that were."""
        cursor = await self._connection.execute(
            "select profile_id::text, erased_at from erased_profiles where profile_id = any(%s::uuid[]) "
            "union all select hash, erased_at from erased_keys where hash = any(%s)",
            (uuids(profiles), list(hashes)),
        )
        return dict(await cursor.fetchall())

    async def erase(self, profile: str, hide: Hide) -> Erased | None:
        """Erase the live profile and all that became part of it; whoever calls has locked them. None where it is not
        there (any more)."""
        cursor = await self._connection.execute(
            "select id::text from profiles where id = %(id)s or merged_into = %(id)s", {"id": profile}
        )
        ids = [id for (id,) in await cursor.fetchall()]
        if not ids:
            return None
        cursor = await self._connection.execute(
            "insert into erasures (profile_id, profiles, events, failures) values (%s, %s, 0, 0) returning id",
            (profile, len(ids)),
        )
        (erasure,) = await cursor.fetchone() or (0,)
        values = {"ids": uuids(ids), "erasure": erasure}
        await self._remember(values, hide)
        events = await self._count(
            "update events set erasure = %(erasure)s where profile_id = any(%(ids)s::uuid[])", values
        )
        failures = await self._count(_FAILURES, values)
        for statement in _EVERYTHING:
            await self._count(statement, values)
        found = Erased(sorted(ids), events, failures)
        await self._count(
            "update erasures set events = %(events)s, failures = %(failures)s where id = %(erasure)s",
            {"events": events, "failures": failures, "erasure": erasure},
        )
        return found

    async def _remember(self, values: Mapping[str, object], hide: Hide) -> None:
        cursor = await self._connection.execute(
            "select namespace, value, false from identifiers where profile_id = any(%(ids)s::uuid[]) "
            "union all select source, id, true from sessions where profile_id = any(%(ids)s::uuid[])",
            values,
        )
        hashes = [
            session_hash(hide, one, two) if is_session else key_hash(hide, (one, two))
            for one, two, is_session in await cursor.fetchall()
        ]
        again = "on conflict (hash) do update set erased_at = excluded.erased_at"
        await self._connection.execute(
            f"insert into erased_keys (hash, erased_at) select distinct h, now() from unnest(%s::text[]) h {again}",
            (hashes,),
        )
        await self._count(
            "insert into erased_profiles (profile_id, erased_at) select id, now() from unnest(%(ids)s::uuid[]) id "
            "on conflict (profile_id) do update set erased_at = excluded.erased_at",
            values,
        )

    async def _count(self, statement: str, values: Mapping[str, object]) -> int:
        return (await self._connection.execute(statement.encode(), values)).rowcount


def key_hash(hide: Hide, key: tuple[str, str]) -> str:
    """By which an identifier is known to be erased."""
    return hide(f"erased {key[0]}", key[1])


def session_hash(hide: Hide, source: str, session: str) -> str:
    """By which a session is known to be erased."""
    return hide(f"erased session of {source}", session)


#: What failed and is theirs: by its place, or because it holds, as a whole string, one of their profile ids, sessions
#: or identifiers (those of six characters or more: a shorter one may be anything).
_FAILURES = """
update failures f set state = 'erased', erasure = %(erasure)s, content = '', key = null, event_id = null, reasons = '[]'
where exists (select from events e where e.erasure = %(erasure)s and f.topic = 'tracks'
              and e.origin_partition = f.partition and e.origin_offset = f."offset"
              and f.ordinal in (-1, e.origin_ordinal))
   or exists (select from (
        select id::text from profiles where id = any(%(ids)s::uuid[])
        union all select id from sessions where profile_id = any(%(ids)s::uuid[])
        union all select value from identifiers where profile_id = any(%(ids)s::uuid[])) k (word)
      where length(word) >= 6 and position(convert_to(to_json(word)::text, 'UTF8') in f.content) > 0)
"""
_OF_THEM = "profile_id = any(%(ids)s::uuid[])"
#: In the order of locks: see processors/storage/profiles.py.
_EVERYTHING = (
    f"delete from sessions where {_OF_THEM}",
    f"delete from identifiers where {_OF_THEM}",
    f"delete from refused_identifiers where {_OF_THEM}",
    f"delete from consents where {_OF_THEM}",
    f"delete from profile_counters where {_OF_THEM}",
    f"delete from profile_days where {_OF_THEM}",
    f"delete from profile_traits where {_OF_THEM}",
    f"delete from memberships where {_OF_THEM}",
    f"delete from segment_timers where {_OF_THEM}",
    f"delete from asked_joins where {_OF_THEM} or other_id = any(%(ids)s::uuid[])",
    f"delete from kept_apart where {_OF_THEM} or other_id = any(%(ids)s::uuid[])",
    "delete from merges where survivor = any(%(ids)s::uuid[]) or absorbed = any(%(ids)s::uuid[])",
    "delete from merge_conflicts where profiles && %(ids)s::uuid[]",
    # Versions only ever grow, whoever comes back under this id.
    f"update profile_versions set segments = '{{}}', merged_into = null where {_OF_THEM}",
    "insert into workflow_runs (origin_partition, origin_offset, origin_ordinal, source, event_id, outcome, changes) "
    "select origin_partition, origin_offset, origin_ordinal, source, id, '{}', '[]' from events "
    "where erasure = %(erasure)s on conflict (origin_partition, origin_offset, origin_ordinal) "
    "do update set outcome = '{}', changes = '[]'",
    "update events set profile_id = null, session_id = null, properties = null, context = null, saved = false "
    "where erasure = %(erasure)s",
    "delete from profiles where id = any(%(ids)s::uuid[])",
)
