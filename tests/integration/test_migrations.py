"""Migrations on a real PostgreSQL: they make everything from nothing, and change nothing when repeated."""

import asyncio
from contextlib import closing
from pathlib import Path

import psycopg

from deploy.embedded.postgres import EmbeddedPostgres
from processors.storage.migrate import migrate
from tests.kit.services import Services
from tests.kit.waiting import until

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


ROWS = {
    "events": "select 'shop', n, '', 0, n, 0, 'seen', null, null, now(), now(), now(), true, false, 0, 1",
    "event_duplicates": "select 0, n, 0, 'shop', n, now()",
    "workflow_runs": "select 0, n, 0, 'shop', n, now(), '{}'",
}
#: All but the last page, which is being filled.
FROZEN = "select bool_and(relallfrozen >= pg_relation_size(oid) / 8192 - 1) from pg_class where relname = any(%s)"


def test_what_is_only_added_is_frozen_soon_however_much_is_there(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"autovacuum_naptime": "1s"})
    server.start()
    try:
        asyncio.run(migrated(server.url))
        with closing(psycopg.connect(server.url, autocommit=True)) as connection:
            for first, last in ((1, 200_000), (200_001, 225_000)):  # by default a fifth more would have to come
                with connection.transaction():
                    for table, rows in ROWS.items():
                        series = f"generate_series({first}, {last}) n"
                        connection.execute(f"insert into {table} {rows} from {series}".encode())
                until(lambda: connection.execute(FROZEN, [list(ROWS)]).fetchall() == [(True,)])
    finally:
        server.kill()
