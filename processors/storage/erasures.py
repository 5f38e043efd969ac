"""Erasing people: everything that is stored of one goes, and what must not come back is known by hashes."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import msgspec

from processors.storage.database import Connection, as_json, take_time, uuids
from schemas.origin import Origin

#: Makes the keyed hash of a value of a namespace.
Hide = Callable[[str, str], str]


class Erased(msgspec.Struct):
    """A person who was erased: all profiles that they were, and how many events went with them."""

    profiles: list[str]
    events: int


class Erasures:
    """Erases, and knows who was erased."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def any(self) -> bool:
        """Whether anybody was ever erased."""
        cursor = await self._connection.execute("select exists (select from erased_profiles)")
        return bool((await cursor.fetchone() or (False,))[0])

    async def known(self, profiles: Collection[str], hashes: Collection[str] = ()) -> Mapping[str, datetime]:
        """When each of these profiles, and of these hashed keys, was erased, of those that were."""
        cursor = await self._connection.execute(
            "select profile_id::text, erased_at from erased_profiles where profile_id = any(%s::uuid[]) "
            "union all select hash, erased_at from erased_keys where hash = any(%s)",
            (uuids(profiles), list(hashes)),
        )
        return dict(await cursor.fetchall())

    async def note_places(self, origins: Collection[Origin]) -> None:
        """These held something of somebody who was erased: the archive has them, or will."""
        await self._connection.execute(
            'insert into erased_places (partition, "offset", ordinal) '
            "select p, o, n from jsonb_to_recordset(%s::jsonb) as r(p int, o bigint, n int) order by p, o, n "
            'on conflict (partition, "offset", ordinal) do update set is_archive_clean = false',
            (as_json([{"p": o.partition, "o": o.offset, "n": o.ordinal} for o in origins]),),
        )

    async def archived(self) -> tuple[set[Origin], set[Origin]]:
        """The noted places that the archive may still have, and where it has the same once more, because it had failed
        and an operator sent it again: there a single event is all of its payload."""
        cursor = await self._connection.execute(
            'select partition, "offset", ordinal from erased_places where not is_archive_clean'
        )
        noted = {Origin(*place) for place in await cursor.fetchall()}
        cursor = await self._connection.execute(
            "select at_partition, at_offset, case when r.ordinal = -1 then e.ordinal else -1 end from erased_places e "
            'join resent_places r on r.partition = e.partition and r."offset" = e."offset" '
            "and (r.ordinal in (-1, e.ordinal) or e.ordinal = -1) where not is_archive_clean"
        )
        return noted, {Origin(*place) for place in await cursor.fetchall()}

    async def note_clean(self, places: Collection[Origin]) -> None:
        """The archive has nothing of these noted places any more."""
        await self._connection.execute(
            "update erased_places e set is_archive_clean = true "
            "from jsonb_to_recordset(%s::jsonb) as r(p int, o bigint, n int) "
            'where e.partition = r.p and e."offset" = r.o and e.ordinal = r.n',
            (as_json([{"p": o.partition, "o": o.offset, "n": o.ordinal} for o in places]),),
        )

    async def erase(self, request: str, profile: str, is_live: bool, hide: Hide) -> Erased:
        """Erase the live profile and all that became part of it; whoever calls has locked them. Nothing where it is not
        live any more: what was asked for was another person. A request is done once."""
        cursor = await self._connection.execute(
            "select id::text from profiles where id = %(id)s or merged_into = %(id)s", {"id": profile}
        )
        ids = [id for (id,) in await cursor.fetchall()] if is_live else []
        inserted = await self._count(
            "insert into erasures (request, profile_id, profiles, events) values (%(request)s, %(id)s, %(n)s, "
            "(select count(*) from events where profile_id = any(%(ids)s::uuid[]))) on conflict do nothing",
            {"request": request, "id": profile, "n": len(ids), "ids": uuids(ids)},
        )
        if not ids or not inserted:
            return Erased([], 0)
        await take_time(self._connection)
        values = {"ids": uuids(ids)}
        await self._remember(values, hide)
        for statement in _EVERYTHING:
            await self._count(statement, values)
        events = await self._count(_EVENTS, values)
        await self._count(f"delete from profiles where id = any({_IDS})", values)
        return Erased(sorted(ids), events)

    async def _remember(self, values: Mapping[str, object], hide: Hide) -> None:
        cursor = await self._connection.execute(
            f"select namespace, value, false from identifiers where {_OF_THEM} "
            f"union all select source, id, true from sessions where {_OF_THEM}".encode(),
            values,
        )
        hashes = [
            session_hash(hide, one, two) if is_session else key_hash(hide, (one, two))
            for one, two, is_session in await cursor.fetchall()
        ]
        await self._connection.execute(
            "insert into erased_keys (hash, erased_at) select distinct h, clock_timestamp() from unnest(%s::text[]) h "
            "on conflict (hash) do update set erased_at = excluded.erased_at",
            (hashes,),
        )
        await self._count(
            "insert into erased_profiles (profile_id, erased_at) select id, clock_timestamp() from unnest("
            f"{_IDS}) id on conflict (profile_id) do update set erased_at = excluded.erased_at",
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


#: Makes a failure a place that is taken. One that was sent again has its outcome elsewhere, still.
EMPTIED = (
    "state = case when state = 'replayed' then state else 'erased' end, content = '', key = null, event_id = null, "
    "reasons = '[]'"
)
_IDS = "%(ids)s::uuid[]"
_OF_THEM = f"profile_id = any({_IDS})"
_EVENTS = (
    "update events set profile_id = null, session_id = null, properties = null, context = null, saved = false "
    f"where {_OF_THEM}"
)
_THEIR_PLACES = f"select origin_partition, origin_offset, origin_ordinal from events where {_OF_THEM}"
_EVERYTHING = (
    # Where the archive has them: the events, and the same ones sent again.
    f'insert into erased_places (partition, "offset", ordinal) {_THEIR_PLACES} union '
    "select d.origin_partition, d.origin_offset, d.origin_ordinal from event_duplicates d "
    f"join events e on e.source = d.source and e.id = d.id where e.{_OF_THEM} "
    'on conflict (partition, "offset", ordinal) do update set is_archive_clean = false',
    f"update failures f set {EMPTIED} "
    f"from ({_THEIR_PLACES}) e (p, o, n) where f.topic = 'tracks' and f.partition = e.p and f.\"offset\" = e.o "
    "and f.ordinal = e.n",
    "insert into workflow_runs (origin_partition, origin_offset, origin_ordinal, source, event_id, outcome, changes) "
    "select origin_partition, origin_offset, origin_ordinal, source, id, '{}', '[]' from events "
    f"where {_OF_THEM} on conflict (origin_partition, origin_offset, origin_ordinal) "
    "do update set outcome = '{}', changes = '[]'",
    *(
        f"delete from {table} where (origin_partition, origin_offset, origin_ordinal) in ({_THEIR_PLACES})"
        for table in ("parked_runs", "outside_calls", "run_parts")
    ),
    f"delete from refused_identifiers where {_OF_THEM} or (namespace, value) in "
    f"(select namespace, value from identifiers where {_OF_THEM})",
    f"delete from visit_timers t using sessions s where t.source = s.source and t.session_id = s.id and s.{_OF_THEM}",
    f"delete from sessions where {_OF_THEM}",
    f"delete from past_visits where {_OF_THEM}",
    f"delete from identifiers where {_OF_THEM}",
    f"delete from consents where {_OF_THEM}",
    f"delete from profile_counters where {_OF_THEM}",
    f"delete from profile_days where {_OF_THEM}",
    f"delete from profile_traits where {_OF_THEM}",
    f"delete from memberships where {_OF_THEM}",
    f"delete from segment_timers where {_OF_THEM}",
    f"delete from metric_people where {_OF_THEM}",
    f"delete from asked_joins where {_OF_THEM} or other_id = any({_IDS})",
    f"delete from kept_apart where {_OF_THEM} or other_id = any({_IDS})",
    f"delete from merges where survivor = any({_IDS}) or absorbed = any({_IDS})",
    f"delete from merge_conflicts where profiles && {_IDS}",
    # Versions only ever grow, whoever comes back under this id.
    f"update profile_versions set segments = '{{}}', merged_into = null where {_OF_THEM}",
)
