"""Profiles and the pointers from merged ones to their survivors: one hop, always."""

from collections.abc import Collection

from processors.storage.database import Connection, uuids


class Profiles:
    """Looks up and locks profiles. All stages lock them here, in one order, so that they cannot deadlock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock_live(self, ids: Collection[str]) -> dict[str, str]:
        """Each id with the live profile that it stands for, which stays so until the transaction ends.

        The lock keeps merges out, and nobody else: whoever merges, parts or erases the live one locks all that are part
        of it, so a lock on these ids is enough. One sorted round: a second one, for survivors that come up as we wait,
        would wait for merges that wait for us.

        Not `for key share`, which would keep merges out too but for a gap: where others hold the same lock already,
        PostgreSQL does not look again whether somebody has taken the row `for update` meanwhile (measured, 18: once in
        a thousand merges under ten connections), and an update that changes no key does not wait for it.
        """
        cursor = await self._connection.execute(
            "select id::text, merged_into::text from profiles where id = any(%s::uuid[]) order by id for share",
            (uuids(ids),),
        )
        survivors = {id: into for id, into in await cursor.fetchall() if into}
        return {id: survivors.get(id, id) for id in ids}

    async def there(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that have a row: who was erased has none, unless they came back."""
        cursor = await self._connection.execute(
            "select id::text from profiles where id = any(%s::uuid[])", (uuids(ids),)
        )
        return {id for (id,) in await cursor.fetchall()}
