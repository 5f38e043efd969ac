"""Counts by day, on a real PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest

from deploy import due
from deploy.due import forget_old_days
from processors.storage.database import Connect


async def test_days_that_no_window_counts_any_more_are_forgotten_and_no_others(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "OLD_BATCH", 7)
    today = datetime.now(UTC).date()
    async with await connect() as connection:
        await connection.execute("insert into windowed_types (type, days) values ('view', 30), ('order', 90)")
        for age in range(120):
            await connection.execute(
                "insert into profile_days (profile_id, type, day, count) values (gen_random_uuid(), 'order', %s, 1)",
                (today - timedelta(days=age),),
            )
        await forget_old_days(connection)
        cursor = await connection.execute("select max(%s - day), count(*) from profile_days", (today,))
        assert await cursor.fetchone() == (89, 90)
