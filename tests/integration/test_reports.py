"""Reports, on a real PostgreSQL."""

from deploy.operations.reports import RECORDED, rows
from processors.storage.database import Connect

MANY = """
insert into events (source, id, fingerprint, origin_partition, origin_offset, origin_ordinal, type, occurred_at,
                    received_at, saved, time_corrected, hops, revision, reused_id)
select 'shop', 'e-' || n, '', 0, n, 0, 'a', now(), now(), false, false, 0, 1, case when n = 7 then 'e-6' end
from generate_series(1, 20000) n
"""


async def test_an_event_is_found_by_its_id_and_by_the_one_it_came_with_without_reading_all(connect: Connect) -> None:
    async with await connect() as connection:
        await connection.execute(MANY.encode())
        await connection.execute("insert into recorded_counts (source, partition) values ('shop', 0), ('shop', 1)")
        await connection.execute("analyze events")
        assert sorted(row["id"] for row in await rows(connection, RECORDED, {"id": "e-6"})) == ["e-6", "e-7"]
        plan = await rows(connection, f"explain {RECORDED}", {"id": "e-6"})
        assert "Seq Scan on events" not in str(plan)
