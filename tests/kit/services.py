"""Kafka and PostgreSQL for tests."""

import uuid
from pathlib import Path

import psycopg

from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres


class Services:
    """One Kafka and one PostgreSQL, for as many installations as there are tests."""

    def __init__(self, folder: Path) -> None:
        self.kafka = EmbeddedKafka(folder / "kafka", heap_mb=512, short_lived=True)
        self.postgres = EmbeddedPostgres(folder / "postgres", settings={"checkpoint_timeout": "30min"})

    def start(self) -> None:
        self.postgres.start()
        self.kafka.start()

    def kill(self) -> None:
        """Nothing of them is wanted any more."""
        self.kafka.kill()
        self.postgres.kill()

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f'create database "{name}"'.encode())
        return self.postgres.url.rpartition("/")[0] + "/" + name
