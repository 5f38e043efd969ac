"""`headwater apply`: a folder of definitions becomes what is in force, for people who are known already too."""

from collections.abc import Callable
from pathlib import Path

import psycopg

from deploy.definitions import Change, apply, difference, read_folder, show
from deploy.installation import kafka_admin
from deploy.operations.backfilling import Progress, backfill
from deploy.settings import Settings
from processors.storage.definitions import DefinitionStore

#: What segments depend on beside the profiles.
_OF_SEGMENTS = ("segment/", "window/", "consent/")


async def apply_folder(
    settings: Settings,
    folder: Path,
    prune: bool,
    agreed: Callable[[list[str]], bool],
    progress: Progress = lambda line: None,
) -> bool:
    """Apply a folder of definitions if `agreed` says so to the difference; whether anything was applied.

    Where segments may have changed, all profiles are sent through segment.
    """
    wanted = read_folder(folder)
    async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
        current = await DefinitionStore(connection).current()
        await connection.commit()
        changes: Change = difference(current, wanted, prune)
        if not agreed(show(current, changes)):
            return False
        await apply(connection, kafka_admin(settings), settings, changes)
    if any(key.startswith(_OF_SEGMENTS) for key in changes):
        await backfill(settings, progress)
    return True
