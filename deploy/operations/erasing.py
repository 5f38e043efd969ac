"""`headwater erase`: nothing of a person is kept: in tables, the archive, and topics that data passes through."""

import asyncio
import time
import uuid
from collections.abc import Callable
from functools import partial

import msgspec

from deploy.definitions import in_force
from deploy.kafka import kafka_admin
from deploy.keys import profile_ids
from deploy.operations.identity import find
from deploy.operations.lag import positions
from deploy.operations.merging import MergingError, have_done
from deploy.operations.reports import rows
from deploy.operations.whose import Whose
from deploy.settings import Settings
from deploy.stages import DISPATCH
from processors.connectors.archive import Archive
from processors.storage.database import Connection
from processors.storage.erasures import EMPTIED, Erasures
from processors.topology import PIPELINE
from schemas.origin import Origin
from schemas.profiles import MergeJob
from schemas.topics import PROFILE_CHANGES, TRACKS, destination_topic
from workflows.erasing import without
from workflows.identification import Identifiers
from workflows.merging import OPERATOR

#: How long to wait for the archive, which gathers (HEADWATER_ARCHIVE_SECONDS, ten by default).
ARCHIVE_S = 60.0
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
    """Have the person erased by merge, then clean up behind it. Raises MergingError."""
    request = str(uuid.uuid4())
    job = MergeJob(profiles=[found.profile], cause=OPERATOR, namespace="operator", event=request, act="erase")
    await have_done(connection, settings, job, "select count(*) > 0 from erasures where request = %s", (request,))
    (done,) = await rows(
        connection, "select profiles, events from erasures where request = %(request)s", {"request": request}
    )
    if not done["profiles"]:
        raise MergingError(f"{found.profile} has become part of another, or was erased, since you looked: look again")
    say(f"erased {found.profile}: {done['profiles']} profiles, {done['events']} events")
    await clean_up(connection, settings, say)


async def clean_up(connection: Connection, settings: Settings, say: Say) -> None:
    """Empty what failed, and take out of the archive's files what is in them, of everybody who was erased. May be done
    at any time, again after a crash, and for what has come late. One does it at a time."""
    await connection.execute("select pg_advisory_lock(hashtext('headwater erase'))")
    say(f"{await _clean_failures(connection, settings)} failures emptied")
    await _wait_for_archive(connection, settings, say)
    erasures = Erasures(connection)
    noted, resent = await erasures.archived()
    files = await asyncio.to_thread(_rewrite, Archive(settings.archive()), noted | resent)
    say(f"{files} files of the archive written anew")
    await erasures.note_clean(noted)
    await connection.commit()


async def _clean_failures(connection: Connection, settings: Settings) -> int:
    """What failed, and names their session, profile or an identifier, read as it would have been read."""
    definitions, ids, emptied, last = await in_force(connection), profile_ids(settings), 0, ("", 0, 0, 0)
    whose = Whose(Identifiers(definitions, ids.hide), ids, definitions)
    while portion := await rows(
        connection,
        'select topic, partition, "offset", ordinal, key, content, coalesce(received_at, failed_at) as at '
        "from failures where (content <> '' or key is not null) and (topic, partition, \"offset\", ordinal) > "
        "(%(topic)s, %(partition)s, %(offset)s, %(ordinal)s) "
        'order by topic, partition, "offset", ordinal limit 1000',
        dict(zip(("topic", "partition", "offset", "ordinal"), last, strict=True)),
    ):
        places = [(row["topic"], row["partition"], row["offset"], row["ordinal"]) for row in portion]
        last = places[-1]
        names = [whose.names(row["key"], bytes(row["content"])) for row in portion]
        named = dict(zip(places, names, strict=True))
        gone = await Erasures(connection).known(
            {profile for profiles, _ in named.values() for profile in profiles},
            {key for _, hashes in named.values() for key in hashes},
        )
        theirs = [
            place
            for place, row in zip(places, portion, strict=True)
            if any(key in gone and row["at"] <= gone[key] for keys in named[place] for key in keys)
        ]
        await _empty(connection, theirs)
        emptied += len(theirs)
    return emptied


async def _empty(connection: Connection, places: list[tuple[str, int, int, int]]) -> None:
    for topic, partition, offset, ordinal in places:
        await connection.execute(
            f"update failures set {EMPTIED} "
            'where topic = %s and partition = %s and "offset" = %s and ordinal = %s'.encode(),
            (topic, partition, offset, ordinal),
        )
    await Erasures(connection).note_places([Origin(*place[1:]) for place in places if place[0] == TRACKS.name])
    await connection.commit()


async def _wait_for_archive(connection: Connection, settings: Settings, say: Say) -> None:
    """Until the archive has written what lies in `tracks` now: what it writes later would be with them.

    Raises MergingError where it does not come so far; the erasing itself is done, and this may be done again.
    """
    admin = kafka_admin(settings)
    ends = await asyncio.to_thread(admin.end_offsets, [TRACKS.name])
    deadline = time.monotonic() + ARCHIVE_S
    while True:
        done = await positions(connection)
        await connection.rollback()
        if not any(stage == "archive" for stage, *_ in done):
            return say("no archive has ever been written here")
        if all(done.get(("archive", TRACKS.name, number), 0) >= end for (_, number), end in ends.items()):
            return
        if time.monotonic() > deadline:
            raise MergingError("the archive stage has not come so far: `headwater erase` cleans it once it has")
        await asyncio.sleep(0.5)


def _rewrite(archive: Archive, origins: set[Origin]) -> int:
    ordinals: dict[tuple[int, int], set[int]] = {}
    for origin in origins:
        ordinals.setdefault((origin.partition, origin.offset), set()).add(origin.ordinal)
    return archive.rewrite({place: partial(without, ordinals=some) for place, some in ordinals.items()})


async def purge_topics(connection: Connection, settings: Settings, say: Say) -> None:
    """Delete from the topics that data passes through whatever all of their stages are done with."""
    admin, done = kafka_admin(settings), await positions(connection)
    existing = await asyncio.to_thread(admin.existing)
    readers: dict[str, list[str]] = {}
    for stage in PIPELINE:
        for topic in stage.reads:
            readers.setdefault(topic.name, []).append(stage.name)
    del readers[PROFILE_CHANGES.name]
    readers |= {destination_topic(id).name: [DISPATCH + id] for id in (await in_force(connection)).destinations}
    before = {
        (topic, number): min(done.get((stage, topic, number), 0) for stage in stages)
        for topic, stages in readers.items()
        for number in range(existing.get(settings.topic_prefix + topic, 0))
    }
    await asyncio.to_thread(admin.delete_records, before)
    say(f"{len({topic for topic, _ in before})} topics hold nothing any more of what all their stages are done with")
