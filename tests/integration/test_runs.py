"""Which events' workflows are due, on a real PostgreSQL."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import psycopg

from processors.storage.database import connector
from processors.storage.events import Events
from processors.storage.migrate import migrate
from processors.storage.runs import Runs
from schemas.events import IdentifiedEvent, WorkflowRun
from schemas.origin import Origin
from tests.kit.services import Services
from workflows.running import Done

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(offset: int, id: str, profile: str | None = None) -> IdentifiedEvent:
    return IdentifiedEvent(
        origin=Origin(0, offset, 0),
        id=id,
        fingerprint="aa",
        source="shop",
        type="a",
        profile=profile,
        occurred_at=NOW,
        received_at=NOW,
    )


async def test_workflows_are_due_once_and_only_for_what_is_recorded_under_this_origin(services: Services) -> None:
    """Sent twice, one of the two was recorded; after the database went back, the other. What persist had put out for
    the first is still in the topic, and must not run beside what it puts out for the second."""
    url = services.new_database()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await migrate(connection)
    async with await connector(url, "test")() as connection:
        await Events(connection).record([event(541, "one"), event(540, "one"), event(7, "two")])
        runs, ran = Runs(connection), event(7, "two")
        done = Done(WorkflowRun(**msgspec.structs.asdict(ran), workflows=["w"]), {}, [], 0)
        await runs.store({ran.origin: runs.row(done)})
        origins = [Origin(0, offset, 0) for offset in (540, 541, 7, 99)]
        assert await runs.due(origins) == {Origin(0, 541, 0): None}


async def test_what_is_due_is_due_under_the_profile_that_it_is_recorded_under_now(services: Services) -> None:
    url, (here, gone) = services.new_database(), (str(UUID(int=1)), str(UUID(int=2)))
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await migrate(connection)
    async with await connector(url, "test")() as connection:
        recorded = {Origin(0, 1, 0): here, Origin(0, 2, 0): gone, Origin(0, 3, 0): None}
        await Events(connection).record([event(o.offset, str(o.offset), profile) for o, profile in recorded.items()])
        await connection.execute("update events set profile_id = %s where profile_id = %s", (here, gone))
        assert await Runs(connection).due(recorded) == recorded | {Origin(0, 2, 0): here}


async def test_of_a_payload_only_the_events_that_are_asked_for_are_due(services: Services) -> None:
    url = services.new_database()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await migrate(connection)
    async with await connector(url, "test")() as connection:
        events = [event(1, str(ordinal)) for ordinal in range(4)]
        for ordinal, one in enumerate(events):
            one.origin = Origin(0, 1, ordinal)
        await Events(connection).record(events)
        runs = Runs(connection)
        done = Done(WorkflowRun(**msgspec.structs.asdict(events[1]), workflows=["w"]), {}, [], 0)
        await runs.store({events[1].origin: runs.row(done)})
        assert await runs.due([events[0].origin, events[1].origin, events[3].origin]) == {
            events[0].origin: None,
            events[3].origin: None,
        }
