"""How many events each source sent: one half of the accounting equation, counted by validate, once."""

from collections.abc import Mapping

from processors.storage.database import Connection, as_json


class SourceCounts:
    """Counts of one lane; a row a source and lane, so that lanes never wait for each other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def accept(self, partition: int, events: Mapping[str, int]) -> None:
        """Add events by source."""
        await self._connection.execute(
            "insert into source_counts (source, partition, accepted) "
            "select source, %s, n from jsonb_to_recordset(%s::jsonb) as r(source text, n bigint) order by source "
            "on conflict (source, partition) do update set accepted = source_counts.accepted + excluded.accepted",
            (partition, as_json([{"source": source, "n": n} for source, n in events.items()])),
        )
