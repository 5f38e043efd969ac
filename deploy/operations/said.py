"""What `profile-changes` has said, told to a database that does not know it: one that was restored, or begins anew."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import msgspec

from deploy.kafka import KafkaAdmin
from deploy.records import read_all
from processors.storage.database import Connection, as_json
from processors.storage.sends import SaidSends
from schemas.topics import PROFILE_CHANGES

#: Changes that are taken over at a time.
PORTION = 10_000


async def lift_versions(connection: Connection, admin: KafkaAdmin) -> None:
    """Versions of profiles go on above what was said of them, whatever the database remembers."""
    await _take_over(connection, admin, with_sends=False)


async def take_over_said(connection: Connection, admin: KafkaAdmin) -> None:
    """As `lift_versions`; and what workflows have sent is not said once more, in other words."""
    await _take_over(connection, admin, with_sends=True)


class _Sent(msgspec.Struct):
    id: str


class _Change(msgspec.Struct):
    profile: str
    version: int
    merged_into: str | None = None
    segments: list[str] = []
    sends: list[_Sent] = []


_decode = msgspec.json.Decoder(_Change).decode


async def _take_over(connection: Connection, admin: KafkaAdmin, with_sends: bool) -> None:
    changes = _changes(admin)
    while portion := await asyncio.to_thread(lambda: list(islice(changes, PORTION))):
        await _lift(connection, portion)
        if with_sends:
            await SaidSends(connection).say([sent.id for change in portion for sent in change.sends])


def _changes(admin: KafkaAdmin) -> Iterator[_Change]:
    """All that was said, as far as it can be read: the topic is public, others may have written to it."""
    for value in read_all(admin, PROFILE_CHANGES.name):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            yield _decode(value)


async def _lift(connection: Connection, changes: list[_Change]) -> None:
    latest: dict[str, _Change] = {}
    for change in changes:
        if change.profile not in latest or change.version > latest[change.profile].version:
            latest[change.profile] = change
    rows = [{"p": one.profile, "v": one.version, "m": one.merged_into, "s": one.segments} for one in latest.values()]
    await connection.execute(
        "insert into profile_versions as known (profile_id, version, merged_into, segments) "
        "select p, v, m, s from jsonb_to_recordset(%s::jsonb) as r(p uuid, v bigint, m uuid, s text[]) order by p "
        "on conflict (profile_id) do update set "
        "version = excluded.version, merged_into = excluded.merged_into, segments = excluded.segments "
        "where known.version < excluded.version",
        (as_json(rows),),
    )
