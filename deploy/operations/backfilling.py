"""Segments for people of whom nothing new comes: days counted for new windows, segments evaluated for all profiles."""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing

import msgspec
import psycopg

from deploy.definitions import in_force
from deploy.kafka import KafkaAdmin, client_config, kafka_admin
from deploy.operations.lag import lags, positions
from deploy.settings import Settings
from processors.runner.publisher import Publisher
from processors.storage.database import Connection, uuids
from processors.storage.merges import Merges
from schemas.profiles import SegmentationJob
from schemas.topics import SEGMENTATION_JOBS
from workflows.definitions import Definitions

PORTION = 5_000
#: So many jobs may wait before segment, so that what happens meanwhile does not wait long; a stage that does not move
#: for a while has no worker yet, and is not waited for.
WAITING, PATIENCE_S = 20_000, 10.0

Progress = Callable[[str], None]


class Backfilled(msgspec.Struct):
    """What was done."""

    revision: int
    profiles: int
    counted: list[str]


async def backfill(settings: Settings, progress: Progress) -> Backfilled:
    """Count what new windows look at, then have segments evaluated for every profile by the definitions in force.

    Begun anew after a crash it goes on where it was. Only memberships that change are said.
    """
    async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
        definitions = await in_force(connection)
        counted = await count_days(connection, definitions, progress)
        with closing(Publisher(client_config(settings), settings.topic_prefix)) as publisher:
            profiles = await _evaluate_all(connection, kafka_admin(settings), publisher, definitions, progress)
        await _forget_days(connection, definitions)
    return Backfilled(definitions.revision, profiles, counted)


async def is_unfinished(connection: Connection) -> bool:
    """Whether the last one was interrupted."""
    cursor = await connection.execute(
        "select finished_at is null from backfills order by revision desc limit 1",
    )
    row = await cursor.fetchone()
    await connection.commit()
    return bool(row and row[0])


async def count_days(connection: Connection, definitions: Definitions, progress: Progress) -> list[str]:
    """From the moment when a type is named, persist counts it. Then each profile is locked, which waits for whoever
    records something of it, and gets what was recorded until then."""
    wanted: dict[str, int] = {}
    for window in definitions.windows:
        wanted[window.event_type] = max(wanted.get(window.event_type, 0), window.days)
    cursor = await connection.execute("select type, days from windowed_types")
    known: dict[str, int] = dict(await cursor.fetchall())
    new = sorted(type for type, days in wanted.items() if known.get(type, 0) < days)
    if not new:
        return []
    for type in new:
        await connection.execute(
            "insert into windowed_types (type, days) values (%s, 0) on conflict do nothing", (type,)
        )
    await connection.commit()
    cursor = await connection.execute("select coalesce(max(id), 0) from merges")
    (last_merge,) = await cursor.fetchone() or (0,)
    position, profiles = None, 0
    while portion := await _next_profiles(connection, position):
        await _count(connection, portion, new)
        position, profiles = portion[-1], profiles + len(portion)
        progress(f"counted {', '.join(new)} of {profiles:,} profiles")
    # Whoever was absorbed before being counted was passed over: their survivors are counted again.
    cursor = await connection.execute(
        "select distinct coalesce(p.merged_into, p.id)::text from merges m join profiles p on p.id = m.survivor "
        "where m.id > %s",
        (last_merge,),
    )
    if survivors := [id for (id,) in await cursor.fetchall()]:
        await _count(connection, survivors, new)
    for type in new:
        await connection.execute("update windowed_types set days = %s where type = %s", (wanted[type], type))
    await connection.commit()
    return new


async def _forget_days(connection: Connection, definitions: Definitions) -> None:
    """What no window counts any more, and what is older than the longest window."""
    wanted = sorted({window.event_type for window in definitions.windows})
    await connection.execute("delete from windowed_types where not type = any(%s)", (wanted,))
    await connection.execute(
        "delete from profile_days d where not exists (select from windowed_types w "
        "where w.type = d.type and d.day > (now() at time zone 'UTC')::date - w.days)"
    )
    await connection.commit()


async def _count(connection: Connection, profiles: list[str], types: list[str]) -> None:
    await Merges(connection).lock_groups(set(profiles))
    await connection.execute(_COUNT, {"ids": uuids(profiles), "types": types})
    await connection.commit()


#: Of live profiles: what was recorded for them and for those that they absorbed.
_COUNT = """
insert into profile_days as c (profile_id, type, day, count)
select coalesce(p.merged_into, p.id), e.type, (e.occurred_at at time zone 'UTC')::date, count(*)
from profiles p join events e on e.profile_id = p.id
where (p.id = any(%(ids)s::uuid[]) or p.merged_into = any(%(ids)s::uuid[])) and e.type = any(%(types)s)
group by 1, 2, 3 order by 1, 2, 3
on conflict (profile_id, type, day) do update set count = excluded.count
"""


async def _next_profiles(connection: Connection, after: str | None) -> list[str]:
    cursor = await connection.execute(
        "select id::text from profiles where merged_into is null and (%(after)s::uuid is null or id > %(after)s::uuid) "
        "order by id limit %(limit)s",
        {"after": after, "limit": PORTION},
    )
    return [id for (id,) in await cursor.fetchall()]


async def _evaluate_all(
    connection: Connection, admin: KafkaAdmin, publisher: Publisher, definitions: Definitions, progress: Progress
) -> int:
    revision = definitions.revision
    await connection.execute("insert into backfills (revision) values (%s) on conflict do nothing", (revision,))
    cursor = await connection.execute(
        "update backfills set position = case when finished_at is null then position end, "
        "profiles = case when finished_at is null then profiles else 0 end, finished_at = null "
        "where revision = %s returning position::text, profiles",
        (revision,),
    )
    position, profiles = await cursor.fetchone() or (None, 0)
    await connection.commit()
    moving = True
    while portion := await _next_profiles(connection, position):
        jobs = [
            SegmentationJob(profile=id, changed=["segments"], silent=True, back_fill=True, revision=revision)
            for id in portion
        ]
        await publisher.publish([SEGMENTATION_JOBS.encode(job) for job in jobs])
        position, profiles = portion[-1], profiles + len(portion)
        await connection.execute(
            "update backfills set position = %s, profiles = %s where revision = %s", (position, profiles, revision)
        )
        await connection.commit()
        progress(f"sent {profiles:,} profiles to segment")
        moving = moving and await _not_too_many(connection, admin)
    await connection.execute("update backfills set finished_at = now() where revision = %s", (revision,))
    await connection.commit()
    return int(profiles)


async def _not_too_many(connection: Connection, admin: KafkaAdmin) -> bool:
    """Return when not too many jobs wait; False where segment does not move."""
    before, moved_at = -1, time.monotonic()
    while (lag := await _lag(connection, admin)) > WAITING:
        if lag != before:
            before, moved_at = lag, time.monotonic()
        elif time.monotonic() - moved_at > PATIENCE_S:
            return False
        await asyncio.sleep(0.1)
    return True


async def _lag(connection: Connection, admin: KafkaAdmin) -> int:
    name = SEGMENTATION_JOBS.name
    ends = await asyncio.to_thread(admin.end_offsets, [name])
    found = lags(await positions(connection), ends, {"segment": [name]})["segment"]
    await connection.commit()
    return found
