"""Preparing an installation: schema, topics, definitions. Each step is safe to repeat."""

import psycopg

from deploy.definitions import publish
from deploy.kafka import kafka_admin
from deploy.settings import Settings
from processors.storage.definitions import DefinitionStore
from processors.storage.migrate import migrate
from schemas.topics import CATALOGUE, destination_topic


async def migrate_database(settings: Settings) -> list[str]:
    """Apply missing migrations; their names."""
    async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
        return await migrate(connection)


def create_topics(settings: Settings) -> list[str]:
    """Create missing topics; their names."""
    return kafka_admin(settings).create_topics(CATALOGUE, settings.partitions, settings.replication)


async def publish_definitions(settings: Settings) -> int:
    """Make `config` and the destinations' topics agree with PostgreSQL, where a crash came between; the latest
    revision."""
    async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
        current = await DefinitionStore(connection).current()
        destinations = [destination_topic(body["id"]) for body in current.values() if body["kind"] == "destination"]
        kafka_admin(settings).create_topics(destinations, settings.partitions, settings.replication)
        return await publish(connection, settings)
