"""For tests of storage: an empty database, and how to connect to it."""

import psycopg
import pytest

from processors.storage.database import Connect, connector
from processors.storage.migrate import migrate
from tests.kit.services import Services


@pytest.fixture
async def connect(services: Services) -> Connect:
    url = services.new_database()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await migrate(connection)
    return connector(url, "test")
