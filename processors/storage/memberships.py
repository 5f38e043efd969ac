"""Segment memberships and profile versions: segment's tables."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from processors.storage.database import Connection, as_json, uuids
from schemas.profiles import ProfileChange
from workflows.commands import SaidBy
from workflows.segments import MembershipOrigin, Memberships


class Said(msgspec.Struct):
    """The last change of a profile, as far as the next one depends on it."""

    version: int = 0
    merged_into: str | None = None
    segments: list[str] = []


class SegmentMemberships:
    """Who is in which segment, and why."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, profiles: Collection[str]) -> dict[str, Memberships]:
        """The memberships of each profile."""
        cursor = await self._connection.execute(
            "select profile_id::text, segment, origin from memberships where profile_id = any(%s::uuid[])",
            (uuids(profiles),),
        )
        found: dict[str, set[tuple[str, MembershipOrigin]]] = {profile: set() for profile in profiles}
        for profile, segment, origin in await cursor.fetchall():
            found[profile].add((segment, origin))
        return {profile: frozenset(memberships) for profile, memberships in found.items()}

    async def say(self, said: Mapping[tuple[str, str, SaidBy], bool]) -> None:
        """Write what was said of (profile, segment, by whom): in or out. Written by run-workflows, moved by merge."""
        await self._insert([key for key, member in sorted(said.items()) if member])
        await self._delete([key for key, member in sorted(said.items()) if not member])

    async def change(self, before: Mapping[str, Memberships], after: Mapping[str, Memberships]) -> None:
        """Write the differences in what conditions say; what workflows said is not segment's to change."""
        gone = [(profile, *one) for profile in after for one in before[profile] - after[profile] if one[1] == "rule"]
        await self._delete(gone)
        await self._insert([(profile, *one) for profile in after for one in after[profile] - before[profile]])

    async def _delete(self, rows: Collection[tuple[str, str, str]]) -> None:
        if rows:
            await self._connection.execute(
                "delete from memberships m using jsonb_to_recordset(%s::jsonb) as r(p uuid, s text, o text) "
                "where m.profile_id = r.p and m.segment = r.s and m.origin = r.o",
                (_rows(rows),),
            )

    async def _insert(self, rows: Collection[tuple[str, str, str]]) -> None:
        if rows:
            await self._connection.execute(
                "insert into memberships (profile_id, segment, origin) "
                "select p, s, o from jsonb_to_recordset(%s::jsonb) as r(p uuid, s text, o text) on conflict do nothing",
                (_rows(rows),),
            )


class Versions:
    """What was last said about each profile: the version, its survivor, and the segments that it was said to be in."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, profiles: Collection[str]) -> dict[str, Said]:
        """What was said of each profile, as far as anything was."""
        cursor = await self._connection.execute(
            "select profile_id::text, version, merged_into::text, segments from profile_versions "
            "where profile_id = any(%s::uuid[])",
            (uuids(profiles),),
        )
        return {profile: Said(*said) for profile, *said in await cursor.fetchall()}

    async def store(self, changes: Iterable[ProfileChange]) -> None:
        """Remember what these changes say, of each profile the last."""
        last = {change.profile: change for change in changes}
        rows = [
            {"p": change.profile, "v": change.version, "m": change.merged_into, "s": change.segments}
            for change in last.values()
        ]
        if rows:
            await self._connection.execute(
                "insert into profile_versions (profile_id, version, merged_into, segments) "
                "select p, v, m, s from jsonb_to_recordset(%s::jsonb) as r(p uuid, v bigint, m uuid, s text[]) "
                "on conflict (profile_id) do update set version = excluded.version, "
                "merged_into = excluded.merged_into, segments = excluded.segments",
                (as_json(rows),),
            )


def _rows(rows: Iterable[tuple[str, str, str]]) -> str:
    return as_json([{"p": profile, "s": segment, "o": origin} for profile, segment, origin in rows])
