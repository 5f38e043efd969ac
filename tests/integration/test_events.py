"""Recording events on a real PostgreSQL: byte for byte, once, and beside another lane that records the same."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from processors.runner.failures import Unavailable, unavailable_cause
from processors.storage.database import Connect
from processors.storage.events import Events
from schemas.events import IdentifiedEvent
from schemas.origin import Origin

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(offset: int, id: str, fingerprint: str = "aa", **fields: object) -> IdentifiedEvent:
    whole = {"source": "shop", "type": "a", "occurred_at": NOW, "received_at": NOW} | fields
    return IdentifiedEvent(origin=Origin(0, offset, 0), id=id, fingerprint=fingerprint, **whole)


AWKWARD = ["back\\slash", "\\N", "\\.", "tab\\t", "a\tb", "quote\"'", "ünï 🎉", "{}", "\\x41", "null", "%s"]


@pytest.mark.parametrize("text", AWKWARD)
async def test_what_is_recorded_is_what_was_sent_whatever_characters_it_holds(connect: Connect, text: str) -> None:
    properties = msgspec.Raw(json.dumps({"text": text, "more": [1, None]}, indent="\t").encode() + b"\r\n")
    sent = event(1, text, session=text, properties=properties, context=msgspec.Raw(b'{"a": "\\\\n\\u00e9"}'))
    async with await connect() as connection:
        await Events(connection).record([sent])
        cursor = await connection.execute(
            "select id, session_id, properties, context, encode(fingerprint, 'hex'), occurred_at, reused_id, "
            "profile_id from events"
        )
        assert await cursor.fetchall() == [
            (text, text, {"text": text, "more": [1, None]}, {"a": "\\né"}, "aa", NOW, None, None)
        ]


@pytest.mark.parametrize("year", [1, 44, 999, 1969, 2026, 9999])
async def test_times_of_any_year_are_recorded_as_they_are(connect: Connect, year: int) -> None:
    at = datetime(year, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
    async with await connect() as connection:
        await Events(connection).record([event(1, "one", occurred_at=at)])
        cursor = await connection.execute("select occurred_at from events")
        assert await cursor.fetchall() == [(at,)]


async def test_whatever_else_is_known_of_an_event_is_recorded_with_it(connect: Connect) -> None:
    known = {"time_corrected": True, "hops": 3, "revision": 2**40, "profile": str(UUID(int=7))}
    async with await connect() as connection:
        await Events(connection).record([event(2**40, "one", save=False, properties=msgspec.Raw(b"{}"), **known)])
        cursor = await connection.execute(
            "select time_corrected, hops, revision, profile_id::text, origin_offset, saved, session_id, properties, "
            "context from events"
        )
        assert await cursor.fetchall() == [(*known.values(), 2**40, False, None, None, None)]


async def test_a_profile_id_that_is_none_is_that_records_fault_and_no_outage(connect: Connect) -> None:
    async with await connect() as connection:
        with pytest.raises(ValueError) as failure:
            await Events(connection).record([event(1, "one", profile="ab")])
        assert unavailable_cause(failure.value) is None


async def test_of_a_payload_that_was_recorded_in_part_the_rest_is_new(connect: Connect) -> None:
    events = [event(1, str(ordinal)) for ordinal in range(5)]
    for ordinal, one in enumerate(events):
        one.origin = Origin(0, 1, ordinal)
    async with await connect() as connection:
        recorded = Events(connection)
        await recorded.record(events[1:3])
        assert [one.id for one in (await recorded.record(events)).new] == ["0", "3", "4"]


async def test_repeats_duplicates_and_ids_used_twice_are_told_apart_in_one_batch_and_over_several(
    connect: Connect,
) -> None:
    async with await connect() as connection:
        events = Events(connection)
        first = await events.record([event(1, "one"), event(2, "one", "bb"), event(3, "one"), event(1, "one")])
        assert [(one.origin.offset, one.id == "one") for one in first.new] == [(1, True), (2, False)]
        assert (first.duplicates, first.id_reused) == ({"shop": 1}, {"shop": 1})
        again = await events.record([event(1, "one"), event(2, "one", "bb"), event(3, "one"), event(4, "one", "bb")])
        assert (again.new, again.duplicates, again.id_reused) == ([], {"shop": 1}, {})


async def test_an_insert_that_collides_is_no_fault_of_the_data(connect: Connect) -> None:
    """What a lane did not see when it looked, and finds when it writes."""
    async with await connect() as one, await connect() as other:
        events = Events(other)
        looked = asyncio.Event()

        async def nothing(events: object) -> dict[object, str]:
            looked.set()
            return {}

        events._stored = nothing  # type: ignore[method-assign, assignment]
        await Events(one).record([event(1, "one")])
        recording = asyncio.create_task(events.record([event(5, "one")]))
        await looked.wait()
        await one.commit()
        with pytest.raises(Unavailable, match="raced"):
            await recording


async def test_an_event_that_another_lane_records_between_two_looks_is_a_repeat_and_no_duplicate(
    connect: Connect,
) -> None:
    """The same origin comes by two lanes where its profile was merged between two deliveries."""
    async with await connect() as one, await connect() as other:
        events, looking = Events(other), asyncio.Event()
        look = events._known_origins

        async def look_and_wait(asked: object) -> set[Origin]:
            found = await look(asked)  # type: ignore[arg-type]
            looking.set()
            await committed.wait()
            return found

        committed = asyncio.Event()
        events._known_origins = look_and_wait  # type: ignore[method-assign, assignment]
        await Events(one).record([event(1, "one")])
        recording = asyncio.create_task(events.record([event(1, "one"), event(2, "one")]))
        await looking.wait()
        await one.commit()
        committed.set()
        recorded = await recording
        assert (recorded.new, recorded.duplicates) == ([], {"shop": 1})
