"""Deliveries into a table of a PostgreSQL that does not do as usual. The rest is in e2e/test_destinations."""

import asyncio

import psycopg
import pytest

from processors.connectors.table import TableWriter
from processors.runner.failures import Unavailable
from schemas.definitions.outbound import Destination
from schemas.profiles import Delivery
from tests.kit.services import Services

PEOPLE = {
    "kind": "destination",
    "id": "people",
    "type": "postgresql",
    "timeout_s": 1,
    "table": {"resource": "warehouse", "name": "people", "key": "id", "version": "version"},
    "mapping": {"mail": "profile.traits.mail"},
}


async def test_a_table_that_somebody_holds_is_waited_for_as_long_as_the_destination_says(services: Services) -> None:
    url, destination = services.new_database(), Destination.model_validate(PEOPLE)
    writer = TableWriter(lambda: destination, lambda resource: url, psycopg.AsyncConnection.connect)
    new = Delivery(id="1", destination="people", profile="p-1", version=1, body={"mail": "a@example.org"})
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as reader,
        await psycopg.AsyncConnection.connect(url) as holder,
    ):
        await reader.execute("create table people (id text primary key, version bigint, mail text)")
        await holder.execute("lock table people in exclusive mode")
        async with asyncio.timeout(20):
            with pytest.raises(Unavailable):
                await writer.deliver([new])
        await holder.rollback()
        await writer.deliver([new])
        cursor = await reader.execute("select id, version, mail from people")
        assert await cursor.fetchall() == [("p-1", 1, "a@example.org")]
        await writer._forget()


async def test_many_rows_are_written_in_parts_each_within_the_destinations_time(services: Services) -> None:
    url, destination = services.new_database(), Destination.model_validate(PEOPLE)
    writer = TableWriter(lambda: destination, lambda resource: url, psycopg.AsyncConnection.connect)
    new = [
        Delivery(id=str(number), destination="people", profile=f"p-{number}", version=1, body={"mail": "a@example.org"})
        for number in range(450)
    ]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as reader:
        await reader.execute(_COUNTING)
        await writer.deliver(new)
        await writer.deliver(new)  # it may be repeated
        cursor = await reader.execute("select count, xid from written order by count")
        written = await cursor.fetchall()
        assert sorted(count for count, _ in written if count) == [50, 200, 200]
        assert len({xid for _, xid in written}) == len(written), "one transaction for two parts"
        cursor = await reader.execute("select count(*) from people")
        assert await cursor.fetchone() == (450,)
        await writer._forget()


_COUNTING = """
create table people (id text primary key, version bigint, mail text);
create table written (count bigint, xid xid8);
create function note() returns trigger language plpgsql as $$
    begin insert into written select count(*), pg_current_xact_id() from rows; return null; end $$;
create trigger noted after insert on people referencing new table as rows for each statement execute function note();
"""
