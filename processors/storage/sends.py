"""Which sends of workflows have been said on profile-changes: segment's table."""

from collections.abc import Collection

from processors.storage.database import Connection, uuids


class SaidSends:
    """Remembers ids for good: a job may be repeated at any time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def say(self, ids: Collection[str]) -> set[str]:
        """Those that nobody has said before; from now on they are."""
        if not ids:
            return set()
        cursor = await self._connection.execute(
            "insert into said_sends (id) select distinct id from unnest(%s::uuid[]) id order by id "
            "on conflict do nothing returning id::text",
            (uuids(ids),),
        )
        return {id for (id,) in await cursor.fetchall()}
