"""What the locks of stages keep out, on a real PostgreSQL: two connections, one of which must wait for the other."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from processors.storage.database import Connect, Connection
from processors.storage.profiles import Profiles
from processors.storage.runs import Traits
from workflows.profile import ProfileState, Trait

WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


@pytest.fixture
async def watch(connect: Connect) -> AsyncIterator[Connection]:
    async with await connect() as connection:
        await connection.set_autocommit(True)
        yield connection


async def until_one_waits(watch: Connection) -> None:
    async with asyncio.timeout(20):
        while (await (await watch.execute(WAITING)).fetchone() or (0,))[0] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_profile_that_a_stage_works_on_is_not_merged_even_by_who_did_not_ask_for_its_lock(
    connect: Connect, watch: Connection
) -> None:
    """`for update`, which merge asks for first, can be had beside `for key share` (see Profiles): so the update itself
    must wait too."""
    old, new = str(uuid4()), str(uuid4())
    for id in (old, new):
        await watch.execute("insert into profiles (id, created_at) values (%s, now())", (id,))
    async with await connect() as stage, await connect() as merge:
        assert await Profiles(stage).lock_live([old]) == {old: old}
        update = "update profiles set merged_into = %s where id = %s"
        merging = asyncio.create_task(merge.execute(update, (new, old)))
        await until_one_waits(watch)
        await stage.commit()
        await merging
        await merge.commit()
        assert await Profiles(stage).lock_live([old]) == {old: new}


async def test_stages_do_not_wait_for_each_other_on_one_profile(connect: Connect, watch: Connection) -> None:
    id = str(uuid4())
    await watch.execute("insert into profiles (id, created_at) values (%s, now())", (id,))
    async with await connect() as one, await connect() as other, asyncio.timeout(20):
        assert await Profiles(one).lock_live([id]) == await Profiles(other).lock_live([id])


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
