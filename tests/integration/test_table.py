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
