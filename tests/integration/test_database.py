"""Connections of lanes, to a real PostgreSQL."""

import psycopg

from processors.storage.database import connector
from tests.kit.services import Services


async def test_options_that_the_database_url_has_hold_for_lanes_too_beside_theirs(services: Services) -> None:
    url = services.new_database() + "?options=-c%20search_path%3Dheadwater%20-c%20statement_timeout%3D1s"
    async with await connector(url, "test")() as connection:
        shown = [await _show(connection, name) for name in ("search_path", "statement_timeout", "timezone")]
    assert shown == ["headwater", "2min", "UTC"]


async def _show(connection: psycopg.AsyncConnection, name: str) -> str:
    (value,) = await (await connection.execute(f"show {name}".encode())).fetchone() or ("",)
    return value
