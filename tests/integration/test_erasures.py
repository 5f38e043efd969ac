"""Erasing a person while events of theirs are under way, on a real PostgreSQL."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from processors.runner.failures import Unavailable
from processors.steps.merge import merge
from processors.steps.persist import persist
from processors.steps.segment import segment
from processors.storage.claims import Claims
from processors.storage.database import Connect, Connection
from processors.storage.erasures import Erasures
from processors.storage.events import Counters, Events
from processors.storage.identities import Identities
from processors.storage.measures import Measures
from processors.storage.memberships import SegmentMemberships, Versions
from processors.storage.merges import Merges
from processors.storage.partings import Partings
from processors.storage.people import People
from processors.storage.profiles import Profiles
from processors.storage.replayed import Replayed
from processors.storage.sends import SaidSends
from processors.storage.windows import Windows
from schemas.origin import Origin
from schemas.profiles import MergeJob, SegmentationJob
from tests.integration.test_identity_graph import BODIES, KEY, Graph, graph
from tests.integration.test_profile_locks import until_one_waits
from tests.unit.making import definitions, event, moment
from workflows.identity import ProfileIds

__all__ = ["graph"]
#: After whatever is erased here.
LATER: dict[str, Any] = {"at": 1e9, "occurred": 1e9}


async def erase(connection: Connection, profile: str, request: str = "r") -> list[SegmentationJob]:
    job = MergeJob(profiles=[profile], cause="operator", namespace="operator", event=request, act="erase")
    tools = Claims(connection), Merges(connection), Partings(connection), Erasures(connection), asyncio.Lock()
    jobs = await merge([job], definitions(*BODIES), ProfileIds(KEY.encode()), *tools)
    await connection.commit()
    return jobs


async def all_of(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode())).fetchall()


async def test_erasing_waits_for_who_is_linking_something_and_takes_that_too(connect: Connect, graph: Graph) -> None:
    person = await graph.see("s1", customer="7")
    await graph.connection.commit()
    assert await graph.see("s1", device="d") == person
    async with await connect() as other, await connect() as watch:
        await watch.set_autocommit(True)
        erasing = asyncio.create_task(erase(other, person))
        await until_one_waits(watch)
        await graph.connection.commit()
        assert [job.profile for job in await erasing] == [person]
        assert await all_of(other, "select value from identifiers") == []
    await graph.connection.rollback()
    assert await graph.see("s2", device="d", **LATER) != person, "whoever shows it next is another, no lane is stuck"


async def test_who_was_erased_since_they_were_looked_up_gets_nothing_more(graph: Graph) -> None:
    person = await graph.see("s1", customer="7")
    await graph.connection.commit()
    await erase(graph.connection, person)
    with pytest.raises(Unavailable):
        await Identities(graph.connection)._hold({person})


async def test_an_event_that_was_identified_before_its_person_was_erased_is_recorded_empty_and_goes_no_further(
    graph: Graph,
) -> None:
    person = await graph.see("s1", customer="7")
    await graph.connection.commit()
    await erase(graph.connection, person)
    c = graph.connection
    # Its client's clock is ahead: it seems to have happened afterwards.
    made = event(
        9, profile=person, session="s1", properties={"canary": 1}, occurred_at=moment(0) + timedelta(days=9999)
    )
    found = await persist(
        [made], 0, Profiles(c), Events(c), Counters(c), Windows(c), Erasures(c), Measures(c), definitions()
    )
    assert found == []
    assert await all_of(c, "select profile_id, properties, saved from events") == [(None, None, False)]
    assert await all_of(c, "select * from profile_counters") == []
    assert (0, 9, 0, False) in await all_of(c, "select * from erased_places")


async def test_who_comes_back_before_all_have_heard_is_told_of_as_erased_first_and_as_new_then(graph: Graph) -> None:
    person = await graph.see("s1", customer="7")
    await graph.connection.commit()
    jobs = await erase(graph.connection, person)
    assert await graph.see("s1", **LATER) == person
    c, known = graph.connection, definitions({"kind": "segment", "id": "all", "condition": "true"})
    came = SegmentationJob(profile=person, changed=["counters"])
    tools = People(c), SegmentMemberships(c), Versions(c), Windows(c), SaidSends(c), Erasures(c)
    changes = await segment([*jobs, came], known, lambda: moment(99), Profiles(c), *tools)
    assert [(one.version, one.erased, one.segments, one.entered) for one in changes] == [
        (1, True, [], []),
        (2, False, ["all"], ["all"]),
    ]
    (again,) = await segment([came], known, lambda: moment(99), Profiles(c), *tools)
    assert (again.version, again.entered) == (3, [])


async def test_what_is_under_way_about_who_was_erased_says_nothing(graph: Graph) -> None:
    person = await graph.see("s1", customer="7")
    await graph.connection.commit()
    await erase(graph.connection, person)
    c, known = graph.connection, definitions({"kind": "segment", "id": "all", "condition": "true"})
    tools = People(c), SegmentMemberships(c), Versions(c), Windows(c), SaidSends(c), Erasures(c)
    late = SegmentationJob(profile=person, changed=["counters"])
    assert await segment([late], known, lambda: moment(99), Profiles(c), *tools) == []
    assert await all_of(c, "select * from memberships") == []


async def test_a_request_is_done_once_and_not_at_all_where_it_would_be_another_person(graph: Graph) -> None:
    older, younger = await graph.see("s1"), await graph.see("s2")
    for session in ("s1", "s2"):
        await graph.see(session, customer="7")
    await graph.join()
    await graph.connection.commit()
    assert await erase(graph.connection, younger, "wrong") == [], "it has become part of another"
    assert {job.profile for job in await erase(graph.connection, older, "right")} == {older, younger}
    assert await graph.see("s1", **LATER) == older  # they come back
    await graph.connection.commit()
    assert await erase(graph.connection, older, "right") == []
    assert await all_of(graph.connection, "select request, profiles from erasures order by id") == [
        ("wrong", 0),
        ("right", 2),
    ]


async def test_other_peoples_events_in_the_erased_ones_browser_are_kept(graph: Graph) -> None:
    ann, bob = await graph.see("ann's", customer="1"), await graph.see("bob's", customer="2")
    await graph.connection.commit()
    await erase(graph.connection, ann)
    with pytest.raises(ValueError):  # nothing comes out of identify
        await graph.see("ann's", occurred=1)
    assert await graph.see("ann's", customer="2", occurred=1) == bob
    assert await graph.see("ann's", occurred=1) == bob, "the session is Bob's now"


async def test_a_tab_that_was_open_all_the_while_brings_nothing_of_before_back(graph: Graph) -> None:
    person = await graph.see("tab", customer="7", device="phone")
    await graph.connection.commit()
    await erase(graph.connection, person)
    assert await graph.see("tab", **LATER), "they go on in it"
    for shown in ({}, {"mail": "a@x.org"}, {"device": "phone"}):
        with pytest.raises(ValueError):  # nothing comes out of identify
            await graph.see("tab", occurred=1, **shown)
    assert await graph.see("tab", **LATER)
    assert await all_of(graph.connection, "select value from identifiers") == []


async def test_the_archive_is_cleaned_also_where_an_operator_had_sent_it_again(connect: Connect) -> None:
    async with await connect() as c:
        replayed, erasures = Replayed(c), Erasures(c)
        alone, whole, others = Origin(0, 5, 2), Origin(1, 6, -1), Origin(0, 5, 3)
        await replayed.note({(alone, 0, 100), (alone, 0, 101), (whole, 1, 200), (others, 0, 102)})
        await replayed.note({(alone, 0, 100)})  # validate does its batch once more
        await erasures.note_places([alone, Origin(1, 6, 4)])
        noted, resent = await erasures.archived()
        assert noted == {alone, Origin(1, 6, 4)}
        # One event alone was a payload of its own; of a payload that went as a whole one event is theirs.
        assert resent == {Origin(0, 100, -1), Origin(0, 101, -1), Origin(1, 200, 4)}
        await erasures.note_clean(noted)
        assert await erasures.archived() == (set(), set())
        # A payload of which nobody knows whose its events were.
        await erasures.note_places([Origin(0, 5, -1)])
        assert (await erasures.archived())[1] == {Origin(0, offset, -1) for offset in (100, 101, 102)}
