"""Segment memberships and profile versions: segment's tables."""

from collections.abc import Collection, Iterable, Mapping

from processors.storage.database import Connection, as_json
from workflows.segments import MembershipOrigin, Memberships


class SegmentMemberships:
    """Who is in which segment, and why."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, profiles: Collection[str]) -> dict[str, Memberships]:
        """The memberships of each profile."""
        cursor = await self._connection.execute(
            "select profile_id::text, segment, origin from memberships where profile_id = any(%s::uuid[])",
            (list(profiles),),
        )
        found: dict[str, set[tuple[str, MembershipOrigin]]] = {profile: set() for profile in profiles}
        for profile, segment, origin in await cursor.fetchall():
            found[profile].add((segment, origin))
        return {profile: frozenset(memberships) for profile, memberships in found.items()}

    async def change(self, before: Mapping[str, Memberships], after: Mapping[str, Memberships]) -> None:
        """Write the differences."""
        gone = [(profile, *one) for profile in after for one in before[profile] - after[profile]]
        new = [(profile, *one) for profile in after for one in after[profile] - before[profile]]
        if gone:
            await self._connection.execute(
                "delete from memberships m using jsonb_to_recordset(%s::jsonb) as r(p uuid, s text, o text) "
                "where m.profile_id = r.p and m.segment = r.s and m.origin = r.o",
                (_rows(gone),),
            )
        if new:
            await self._connection.execute(
                "insert into memberships (profile_id, segment, origin) "
                "select p, s, o from jsonb_to_recordset(%s::jsonb) as r(p uuid, s text, o text) on conflict do nothing",
                (_rows(new),),
            )


class Versions:
    """The version of what was last said about each profile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, profiles: Collection[str]) -> dict[str, tuple[int, str | None]]:
        """(version, merged into) of each profile of which something was said."""
        cursor = await self._connection.execute(
            "select profile_id::text, version, merged_into::text from profile_versions "
            "where profile_id = any(%s::uuid[])",
            (list(profiles),),
        )
        return {profile: (version, merged) for profile, version, merged in await cursor.fetchall()}

    async def store(self, versions: Iterable[tuple[str, int, str | None]]) -> None:
        """Write (profile, version, merged into)."""
        rows = [{"p": profile, "v": version, "m": merged} for profile, version, merged in versions]
        if rows:
            await self._connection.execute(
                "insert into profile_versions (profile_id, version, merged_into) "
                "select p, v, m from jsonb_to_recordset(%s::jsonb) as r(p uuid, v bigint, m uuid) "
                "on conflict (profile_id) do update set version = excluded.version, "
                "merged_into = excluded.merged_into",
                (as_json(rows),),
            )


def _rows(rows: Iterable[tuple[str, str, str]]) -> str:
    return as_json([{"p": profile, "s": segment, "o": origin} for profile, segment, origin in rows])
