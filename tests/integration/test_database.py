"""Connections of lanes, to a real PostgreSQL."""

import psycopg
import pytest

from processors.storage.database import connector
from tests.kit.services import Services


async def test_options_that_the_database_url_has_hold_for_lanes_too_beside_theirs(services: Services) -> None:
    url = services.new_database() + "?options=-c%20search_path%3Dheadwater%20-c%20statement_timeout%3D1s"
    async with await connector(url, "test")() as connection:
        shown = [await _show(connection, name) for name in ("search_path", "statement_timeout", "timezone")]
    assert shown == ["headwater", "2min", "UTC"]


@pytest.mark.parametrize("where", ["url", "environment"])
async def test_texts_are_sent_as_the_copied_rows_are_whatever_is_said_elsewhere(
    services: Services, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = services.new_database() + ("?client_encoding=LATIN1" if where == "url" else "")
    if where == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    async with await connector(url, "test")() as connection:
        assert (connection.info.encoding, await _show(connection, "client_encoding")) == ("utf-8", "UTF8")


async def _show(connection: psycopg.AsyncConnection, name: str) -> str:
    (value,) = await (await connection.execute(f"show {name}".encode())).fetchone() or ("",)
    return value
