"""What the locks of stages keep out, on a real PostgreSQL: two connections, one of which must wait for the other."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest
from psycopg.errors import LockNotAvailable

from deploy.operations.backfilling import count_days
from processors.storage.database import Connect, Connection
from processors.storage.events import Events
from processors.storage.merges import Merges
from processors.storage.profiles import Profiles
from processors.storage.runs import Traits
from processors.storage.windows import Windows
from tests.unit.making import definitions, event
from workflows.profile import ProfileState, Trait

WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


@pytest.fixture
async def watch(connect: Connect) -> AsyncIterator[Connection]:
    async with await connect() as connection:
        await connection.set_autocommit(True)
        yield connection


async def until_one_waits(watch: Connection, number: int = 1) -> None:
    async with asyncio.timeout(20):
        while (await (await watch.execute(WAITING)).fetchone() or (0,))[0] < number:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def born(watch: Connection, number: int) -> list[str]:
    """So many profiles, by their ids."""
    ids = sorted(str(uuid4()) for _ in range(number))
    for id in ids:
        await watch.execute("insert into profiles (id, created_at) values (%s, now())", (id,))
    return ids


async def become_part_of(merge: Connection, absorbed: str, survivor: str) -> None:
    await merge.execute("update profiles set merged_into = %s where id = %s", (survivor, absorbed))


async def test_a_profile_that_a_stage_works_on_is_not_merged_even_by_who_did_not_ask_for_its_lock(
    connect: Connect, watch: Connection
) -> None:
    """`for update`, which merge asks for first, can be had beside `for key share` (see Profiles): so the update itself
    must wait too."""
    old, new = await born(watch, 2)
    async with await connect() as stage, await connect() as merge:
        assert await Profiles(stage).lock_live([old]) == {old: old}
        merging = asyncio.create_task(become_part_of(merge, old, new))
        await until_one_waits(watch)
        await stage.commit()
        await merging
        await merge.commit()
        assert await Profiles(stage).lock_live([old]) == {old: new}


async def test_stages_do_not_wait_for_each_other_on_one_profile(connect: Connect, watch: Connection) -> None:
    (id,) = await born(watch, 1)
    async with await connect() as one, await connect() as other, asyncio.timeout(20):
        assert await Profiles(one).lock_live([id]) == await Profiles(other).lock_live([id])


async def test_a_stage_that_waits_for_a_merge_does_not_then_wait_for_another_one_that_waits_for_it(
    connect: Connect, watch: Connection
) -> None:
    """PostgreSQL would end one of them after a second, and its batch would have to be done again."""
    survivor, first, absorbed = await born(watch, 3)
    async with await connect() as stage, await connect() as merge, await connect() as another:
        await Merges(merge).lock([survivor, absorbed], definitions())
        staging = asyncio.create_task(Profiles(stage).lock_live([first, absorbed]))
        await until_one_waits(watch)  # with the lock on the first one
        merging = asyncio.create_task(Merges(another).lock([survivor, first], definitions()))
        await until_one_waits(watch, 2)
        await become_part_of(merge, absorbed, survivor)
        await merge.commit()
        assert await staging == {first: first, absorbed: survivor}
        await stage.commit()
        assert {id: root.id for id, root in (await merging).items()} == {survivor: survivor, first: first}


async def test_whoever_works_on_one_who_was_absorbed_keeps_the_survivor_from_being_merged(
    connect: Connect, watch: Connection
) -> None:
    survivor, absorbed, other = await born(watch, 3)
    await become_part_of(watch, absorbed, survivor)
    async with await connect() as stage, await connect() as merge:
        assert await Profiles(stage).lock_live([absorbed]) == {absorbed: survivor}
        merging = asyncio.create_task(Merges(merge).lock([survivor, other], definitions()))
        await until_one_waits(watch)
        await stage.commit()
        await merging


async def test_a_new_window_counts_what_is_being_recorded_of_one_who_was_absorbed(
    connect: Connect, watch: Connection
) -> None:
    survivor, absorbed = await born(watch, 2)
    await become_part_of(watch, absorbed, survivor)
    known = definitions({"kind": "window", "id": "views", "event_type": "view", "days": 7})
    async with await connect() as stage, await connect() as command:
        live = await Profiles(stage).lock_live([absorbed])
        seen = event(1, type="view", profile=absorbed)
        await Events(stage).record([seen])
        counting = asyncio.create_task(count_days(command, known, lambda line: None))
        await until_one_waits(watch)
        await Windows(stage).add([msgspec.structs.replace(seen, profile=live[absorbed])])
        await stage.commit()
        assert await counting == ["view"]
    assert await (await watch.execute("select profile_id::text, count from profile_days")).fetchall() == [(survivor, 1)]


async def test_a_merge_locks_who_became_part_of_one_of_its_profiles_as_it_waited(
    connect: Connect, watch: Connection
) -> None:
    absorbed, survivor = await born(watch, 2)
    async with await connect() as merge, await connect() as another:
        await Merges(merge).lock([survivor, absorbed], definitions())
        merging = asyncio.create_task(Merges(another).lock([survivor], definitions()))
        await until_one_waits(watch)
        await become_part_of(merge, absorbed, survivor)
        await merge.commit()
        assert {id: (root.id, root.size) for id, root in (await merging).items()} == {survivor: (survivor, 2)}
        with pytest.raises(LockNotAvailable):
            await watch.execute("select from profiles where id = %s for share nowait", (absorbed,))


async def test_a_merge_follows_a_profile_that_became_part_of_another_as_it_waited(
    connect: Connect, watch: Connection
) -> None:
    absorbed, survivor, older = await born(watch, 3)
    await become_part_of(watch, older, survivor)
    async with await connect() as merge, await connect() as another:
        await Merges(merge).lock([survivor, absorbed], definitions())
        merging = asyncio.create_task(Merges(another).lock([absorbed], definitions()))
        await until_one_waits(watch)
        await become_part_of(merge, absorbed, survivor)
        await merge.commit()
        assert {id: (root.id, root.size) for id, root in (await merging).items()} == {absorbed: (survivor, 3)}
        for id in (absorbed, survivor, older):
            with pytest.raises(LockNotAvailable):
                await watch.execute("select from profiles where id = %s for share nowait", (id,))


@pytest.mark.parametrize("is_there", [True, False])
async def test_two_lanes_that_run_workflows_on_one_profile_take_turns_whether_it_has_traits_or_not(
    connect: Connect, watch: Connection, is_there: bool
) -> None:
    id = str(uuid4())
    if is_there:
        await Traits(watch).store({id: ProfileState({}, {})})
    seen = ProfileState({"name": Trait("Ada", 1, "e")}, {})
    async with await connect() as one, await connect() as other:
        assert await Traits(one).lock([id]) == {id: ProfileState({}, {})}
        locking = asyncio.create_task(Traits(other).lock([id]))
        await until_one_waits(watch)
        await Traits(one).store({id: seen})
        await one.commit()
        assert await locking == {id: seen}
