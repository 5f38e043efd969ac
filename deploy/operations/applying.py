"""`headwater apply`: a folder of definitions becomes what is in force, for people who are known already too."""

from collections.abc import Callable
from pathlib import Path

import psycopg

from deploy.definitions import Change, apply, difference, in_force_after, read_folder, show
from deploy.installation import kafka_admin
from deploy.operations.backfilling import Progress, backfill, count_days, is_unfinished
from deploy.operations.claiming import claim_traits
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

    Where workflows merge by another trait since now, its values are claimed; where segments may have changed, all
    profiles are sent through segment. Where either was interrupted, it goes on.
    Raises DefinitionError where what would be in force does not go together.
    """
    wanted = read_folder(folder)
    async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
        current = await DefinitionStore(connection).current()
        await connection.commit()
        changes: Change = difference(current, wanted, prune)
        after = in_force_after(current, changes)
        agreed_to = agreed(show(current, changes))
        if agreed_to:
            # First, so that no segment ever sees a window that has not been counted.
            await count_days(connection, after, progress)
            await apply(connection, kafka_admin(settings), settings, changes)
        unfinished = await is_unfinished(connection)
    if agreed_to:
        await claim_traits(settings, progress)
    if unfinished or (agreed_to and any(key.startswith(_OF_SEGMENTS) for key in changes)):
        await backfill(settings, progress)
    return agreed_to
