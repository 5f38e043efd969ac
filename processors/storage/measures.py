"""Live metrics in PostgreSQL: persist adds to them in the transaction that records the events, so each counts once."""

from collections.abc import Mapping
from datetime import datetime

from processors.storage.database import Connection, as_json
from workflows.measuring import Sums, WindowKey


class Measures:
    """Windows of metrics, and how alerts stand."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, partition: int, sums: Mapping[WindowKey, Sums]) -> None:
        """Add what a lane's batch held. Lanes have rows of their own: none waits for another."""
        rows = [
            {"m": metric, "b": begins, "k": key, "n": one.events, "t": str(one.total)}
            for (metric, begins, key), one in sums.items()
        ]
        await self._connection.execute(
            "insert into metric_windows as w (metric, begins, key, partition, events, total) "
            "select m, b, k, %s, n, t from jsonb_to_recordset(%s::jsonb) "
            "as r(m text, b timestamptz, k text, n bigint, t numeric) order by m, b, k "
            "on conflict (metric, begins, key, partition) do update set events = w.events + excluded.events, "
            "total = w.total + excluded.total",
            (partition, as_json(rows)),
        )
        people = [
            {"m": metric, "b": begins, "k": key, "p": profile}
            for (metric, begins, key), one in sums.items()
            for profile in one.people
        ]
        if people:
            await self._connection.execute(
                "insert into metric_people (metric, begins, key, profile_id) select m, b, k, p "
                "from jsonb_to_recordset(%s::jsonb) as r(m text, b timestamptz, k text, p uuid) order by m, b, k, p "
                "on conflict do nothing",
                (as_json(people),),
            )

    async def windows(
        self, metric: str, since: datetime, key: str | None = None
    ) -> dict[datetime, dict[str, dict[str, float]]]:
        """What was counted since then: by the window's beginning and the value, `events`, `sum`, `people`."""
        cursor = await self._connection.execute(
            "select w.begins, w.key, sum(w.events)::float, sum(w.total)::float, (select count(distinct "
            "coalesce(p.merged_into, m.profile_id)) from metric_people m left join profiles p on p.id = m.profile_id "
            "where m.metric = w.metric and m.begins = w.begins and m.key = w.key)::float "
            "from metric_windows w where w.metric = %s and w.begins >= %s and (%s::text is null or w.key = %s) "
            "group by w.metric, w.begins, w.key order by 1, 2",
            (metric, since, key, key),
        )
        found: dict[datetime, dict[str, dict[str, float]]] = {}
        for begins, value, events, total, people in await cursor.fetchall():
            found.setdefault(begins, {})[value] = {"events": events, "sum": total, "people": people}
        return found

    async def lock_alert(self, alert: str, now: datetime) -> tuple[datetime, bool] | None:
        """How far the alert has looked, and whether it is raised; it begins now where it is new. None while another
        process has it."""
        await self._connection.execute(
            "insert into alert_states (alert, looked_until, is_raised) values (%s, %s, false) on conflict do nothing",
            (alert, now),
        )
        cursor = await self._connection.execute(
            "select looked_until, is_raised from alert_states where alert = %s for update skip locked", (alert,)
        )
        row = await cursor.fetchone()
        return None if row is None else (row[0], row[1])

    async def looked(self, alert: str, until: datetime, is_raised: bool) -> None:
        """The alert has looked at all windows that end until then."""
        await self._connection.execute(
            "update alert_states set looked_until = %s, is_raised = %s where alert = %s", (until, is_raised, alert)
        )

    async def forget(self, metric: str, before: datetime) -> None:
        """Drop windows that are older than their metric keeps."""
        for table in ("metric_windows", "metric_people"):
            await self._connection.execute(
                f"delete from {table} where metric = %s and begins < %s".encode(), (metric, before)
            )
