"""What `profile-changes` has said, told to a database that does not know it: one that was restored, or begins anew."""

import asyncio
from typing import Any

import msgspec

from deploy.kafka import KafkaAdmin
from processors.storage.database import Connection, as_json
from processors.storage.sends import SaidSends
from schemas.topics import PROFILE_CHANGES

#: Ids in one statement.
PORTION = 10_000


async def lift_versions(connection: Connection, admin: KafkaAdmin) -> None:
    """Versions of profiles go on above what was said of them, whatever the database remembers."""
    await _lift(connection, await asyncio.to_thread(_read, admin))


async def take_over_said(connection: Connection, admin: KafkaAdmin) -> None:
    """As `lift_versions`; and what workflows have sent is not said once more, in other words."""
    said = await asyncio.to_thread(_read, admin)
    await _lift(connection, said)
    for start in range(0, len(said.sends), PORTION):
        await SaidSends(connection).say(said.sends[start : start + PORTION])


class _Sent(msgspec.Struct):
    id: str


class _Change(msgspec.Struct):
    profile: str
    version: int
    merged_into: str | None = None
    segments: list[str] = []
    sends: list[_Sent] = []


_decode = msgspec.json.Decoder(_Change).decode


class _Said(msgspec.Struct):
    """The last change of each profile, and the ids of all sends."""

    last: dict[str, dict[str, Any]] = {}
    sends: list[str] = []


def _read(admin: KafkaAdmin) -> _Said:
    said = _Said()
    for value in admin.read_all(PROFILE_CHANGES.name):
        change = _decode(value)
        said.sends += [sent.id for sent in change.sends]
        if change.version > said.last.get(change.profile, {"v": 0})["v"]:
            said.last[change.profile] = {
                "p": change.profile,
                "v": change.version,
                "m": change.merged_into,
                "s": change.segments,
            }
    return said


async def _lift(connection: Connection, said: _Said) -> None:
    await connection.execute(
        "insert into profile_versions as known (profile_id, version, merged_into, segments) "
        "select p, v, m, s from jsonb_to_recordset(%s::jsonb) as r(p uuid, v bigint, m uuid, s text[]) "
        "on conflict (profile_id) do update set "
        "version = excluded.version, merged_into = excluded.merged_into, segments = excluded.segments "
        "where known.version < excluded.version",
        (as_json(list(said.last.values())),),
    )
