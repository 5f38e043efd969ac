"""Kafka and PostgreSQL for tests."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psycopg

from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres

#: There are hundreds of databases: every ten seconds a vacuum for each would be most of the work.
POSTGRES = {"checkpoint_timeout": "30min", "autovacuum_naptime": "1min"}


class Services:
    """One Kafka and one PostgreSQL, for as many installations as there are tests."""

    def __init__(self, folder: Path) -> None:
        self.kafka = EmbeddedKafka(folder / "kafka", heap_mb=512, short_lived=True)
        self.postgres = EmbeddedPostgres(folder / "postgres", settings=POSTGRES)

    def start(self) -> None:
        self.postgres.start()
        self.kafka.start()

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Started, and killed at the end."""
        try:
            self.start()
            yield self
        finally:
            self.kill()

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
