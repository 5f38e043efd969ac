"""When visits are over though nothing says so, and what is left of forgotten sessions, on a real PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from processors.storage.database import Connect, Connection
from processors.storage.people import People
from processors.storage.visits import IdleVisit, VisitTimers, forget_sessions
from schemas.profiles import Visits
from tests.integration.test_erasures import erase
from tests.integration.test_identity_graph import BODIES, Graph, graph
from tests.unit.making import definitions, moment

__all__ = ["graph"]
ASKS = {"kind": "source", "id": "shop", "system_events": ["visit-ended"], "session_idle_minutes": 10}
IDLE = {"shop": timedelta(minutes=10)}
#: Conditions over visits: they are counted.
LOOKS = {"kind": "segment", "id": "regulars", "condition": "profile.visits.count > 1"}


@pytest.fixture
def asked(graph: Graph) -> Graph:
    """Its source wants to know when a visit is over."""
    graph.known = definitions(*BODIES, ASKS)
    return graph


async def look_at(connection: Connection, minutes: float) -> None:
    """Have all timers be due then: what they wait for is counted by our clock."""
    await connection.execute("update visit_timers set due_at = %s", (moment(60 * minutes),))


async def due(connection: Connection, minutes: float) -> Sequence[IdleVisit]:
    found = await VisitTimers(connection).take_due(moment(60 * minutes), IDLE, 100)
    await connection.commit()
    return found


async def test_a_visit_is_over_ten_minutes_after_its_last_event_and_that_is_said_once(asked: Graph) -> None:
    person = await asked.see("s1", occurred=60)
    await asked.see("s1", occurred=8 * 60)
    await look_at(asked.connection, 11)
    assert await due(asked.connection, 10.5) == []
    assert await due(asked.connection, 11) == []  # looked at, and heard of since: later
    assert await due(asked.connection, 17.9) == []
    assert await due(asked.connection, 18) == [IdleVisit("shop", "s1", person, moment(8 * 60))]
    assert await due(asked.connection, 1000) == []


async def test_of_two_who_look_at_once_one_finds_the_visit(asked: Graph, connect: Connect) -> None:
    await asked.see("s1", occurred=60)
    await look_at(asked.connection, 0)
    await asked.connection.commit()
    async with await connect() as other:
        found = await VisitTimers(asked.connection).take_due(moment(1e6), IDLE, 100)
        assert len(found) == 1
        assert await due(other, 1e6) == []


async def test_a_visit_that_said_it_was_over_is_not_said_to_be_over_again(asked: Graph) -> None:
    await asked.see("s1", occurred=60)
    await asked.see("s1", type="visit-ended", occurred=120)
    await look_at(asked.connection, 0)
    assert await due(asked.connection, 1000) == []


async def test_it_is_looked_at_after_the_idle_time_by_our_clock_however_long_ago_it_happened(asked: Graph) -> None:
    await asked.see("s1", occurred=60)
    assert await asked.row("select due_at - now() = interval '10 minutes' from visit_timers") == (True,)
    assert await due(asked.connection, 1e6 / 60) == []


async def test_nobody_waits_for_the_end_of_visits_that_nobody_asks_for(graph: Graph) -> None:
    await graph.see("s1")
    assert await graph.row("select count(*) from visit_timers") == (0,)


async def visits(graph: Graph, profile: str) -> Visits | None:
    (person,) = (await People(graph.connection).load({profile}, definitions(*BODIES, LOOKS), moment(0).date())).values()
    return person.visits


async def test_forgotten_sessions_still_count_as_visits_of_whoever_their_people_are_now(graph: Graph) -> None:
    for session, day in (("old", 1), ("older", 0), ("new", 50)):
        await graph.see(session, occurred=day * 86400 + 1, customer="7")
    other = await graph.see("strangers", occurred=2 * 86400, customer="8")
    await graph.join()
    person = await graph.see("new", occurred=50 * 86400 + 2)
    before = await visits(graph, person)
    assert before == Visits(3, moment(1), moment(50 * 86400 + 1))
    assert await forget(graph) == 0, "we have come to know of them now"
    await graph.connection.execute("update sessions set seen_at = started_at")
    assert await forget(graph) == 3
    assert await forget(graph) == 0
    assert await graph.row("select string_agg(id, ',') from sessions") == ("new",)
    assert await visits(graph, person) == before
    assert await visits(graph, other) == Visits(1, moment(2 * 86400), moment(2 * 86400))


async def forget(graph: Graph) -> int:
    """Look through all sessions, two at a time."""
    after: str | None = ""
    forgotten = 0
    while after is not None:
        count, after = await forget_sessions(graph.connection, "shop", moment(40 * 86400), after, 2)
        forgotten += count
    return forgotten


async def test_nothing_of_visits_is_left_of_who_is_erased(asked: Graph) -> None:
    person = await asked.see("s1", occurred=60, customer="7")
    await asked.see("s0", occurred=1, customer="7")
    await asked.connection.execute("update sessions set seen_at = started_at")
    assert await forget_sessions(asked.connection, "shop", moment(30), "", 10) == (1, "s1")
    await asked.connection.commit()
    await erase(asked.connection, person)
    for table in ("visit_timers", "past_visits", "sessions"):
        assert await asked.row(f"select count(*) from {table}") == (0,), table
