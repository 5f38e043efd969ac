"""Migrations on a real PostgreSQL: they make everything from nothing, and change nothing when repeated."""

import asyncio

import psycopg

from processors.storage.migrate import migrate
from tests.kit.services import Services

CATALOGUE = (
    "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns "
    "where table_schema = 'public' order by 1, ordinal_position"
)
INDEXES = "select indexdef from pg_indexes where schemaname = 'public' order by 1"


async def migrated(url: str) -> list[str]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return list(await migrate(connection))


def shape(url: str) -> list[object]:
    with psycopg.connect(url) as connection:
        return [connection.execute(query).fetchall() for query in (CATALOGUE, INDEXES)]


def test_migrations_make_an_empty_database_complete_and_change_nothing_the_second_time(services: Services) -> None:
    url = services.new_database()
    assert asyncio.run(migrated(url))
    first = shape(url)
    assert "events" in str(first)
    assert asyncio.run(migrated(url)) == []
    assert shape(url) == first
    other = services.new_database()
    asyncio.run(migrated(other))
    assert shape(other) == first


def test_migrations_started_at_the_same_time_are_applied_once(services: Services) -> None:
    url = services.new_database()

    async def together() -> list[list[str]]:
        return await asyncio.gather(*(migrated(url) for _ in range(4)))

    applied = asyncio.run(together())
    assert sum(bool(names) for names in applied) == 1


def test_data_survives_a_repeated_migration(services: Services) -> None:
    url = services.new_database()
    asyncio.run(migrated(url))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into source_counts (source, partition, accepted) values ('shop', 0, 7)")
    asyncio.run(migrated(url))
    with psycopg.connect(url) as connection:
        assert connection.execute("select accepted from source_counts").fetchall() == [(7,)]
