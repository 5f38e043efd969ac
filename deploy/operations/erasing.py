"""`headwater erase`: nothing of a person is kept: in tables, the archive, and topics that data passes through."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from deploy.installation import kafka_admin
from deploy.operations.identity import find
from deploy.operations.lag import positions
from deploy.operations.merging import have_done
from deploy.operations.reports import rows
from deploy.settings import Settings
from processors.connectors.archive import Archive
from processors.storage.database import Connection
from schemas.origin import Origin
from schemas.profiles import MergeJob
from schemas.topics import PROFILE_CHANGES
from workflows.erasing import without
from workflows.merging import OPERATOR

Say = Callable[[str], None]


class Found(msgspec.Struct):
    """Somebody who is to be erased: their live profile, and how much is stored."""

    profile: str
    profiles: int
    identifiers: int
    sessions: int
    events: int


async def plan(connection: Connection, settings: Settings, name: str) -> Found:
    """What would be erased. Raises LookupError for who is not known."""
    live = (await find(connection, settings, name)).live
    mine = "in (select id from profiles where id = %(id)s::uuid or merged_into = %(id)s::uuid)"
    (counts,) = await rows(
        connection,
        f"select (select count(*) from profiles where id {mine}) as profiles, "
        f"(select count(*) from identifiers where profile_id {mine}) as identifiers, "
        f"(select count(*) from sessions where profile_id {mine}) as sessions, "
        f"(select count(*) from events where profile_id {mine}) as events",
        {"id": live},
    )
    return Found(live, **counts)


async def erase(connection: Connection, settings: Settings, found: Found, say: Say) -> None:
    """Have the person erased by merge, then take them out of the archive's files. Raises MergingError."""
    job = MergeJob(profiles=[found.profile], cause=OPERATOR, namespace="operator", event="", act="erase")
    gone = "select not exists (select from profiles where id = %s)"
    await have_done(connection, settings, job, gone, (found.profile,))
    (erased,) = await rows(
        connection,
        "select id, events, failures from erasures where profile_id = %(id)s order by id desc limit 1",
        {"id": found.profile},
    )
    say(f"erased {found.profile}: {erased['events']} events, {erased['failures']} failures")
    await clean_archive(connection, settings, say)


async def clean_archive(connection: Connection, settings: Settings, say: Say) -> None:
    """Take everybody who was erased out of the archive's files; what a crash left is done the next time."""
    due = await rows(
        connection,
        "select r.id, o.* from erasures r left join lateral ("
        "select origin_partition, origin_offset, origin_ordinal from events where erasure = r.id "
        "union all select partition, \"offset\", ordinal from failures where erasure = r.id and topic = 'tracks'"
        ") o (partition, place, ordinal) on true where r.files_done_at is null",
        {},
    )
    origins = {Origin(row["partition"], row["place"], row["ordinal"]) for row in due if row["partition"] is not None}
    files = await asyncio.to_thread(_rewrite, Archive(settings.archive()), origins)
    say(f"{files} files of the archive rewritten")
    await connection.execute(
        "update erasures set files_done_at = now() where id = any(%s)", ([row["id"] for row in due],)
    )
    await connection.commit()


def _rewrite(archive: Archive, origins: set[Origin]) -> int:
    ordinals: dict[tuple[int, int], set[int]] = {}
    for origin in origins:
        ordinals.setdefault((origin.partition, origin.offset), set()).add(origin.ordinal)
    return archive.rewrite({place: partial(without, ordinals=some) for place, some in ordinals.items()})


async def purge_topics(connection: Connection, settings: Settings, say: Say) -> None:
    """Delete from the topics that data passes through whatever all of their stages are done with."""
    admin, done = kafka_admin(settings), await positions(connection)
    places: dict[tuple[str, int], list[int]] = {}
    for (_, topic, partition), offset in done.items():
        places.setdefault((topic, partition), []).append(offset)
    before = {place: min(offsets) for place, offsets in places.items() if place[0] != PROFILE_CHANGES.name}
    await asyncio.to_thread(admin.delete_records, before)
    say(f"{len({topic for topic, _ in before})} topics hold nothing any more of what all their stages are done with")
