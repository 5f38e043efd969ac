"""`headwater apply`: a folder of definitions becomes what is in force, for people who are known already too."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psycopg

from deploy.definitions import Change, apply, difference, in_force_after, publish, read_folder, sealed, show
from deploy.kafka import kafka_admin
from deploy.operations.backfilling import Progress, backfill, count_days, is_unfinished
from deploy.operations.claiming import claim_traits
from deploy.sealing import Seals
from deploy.settings import Settings
from processors.storage.database import LANE_OPTIONS, Connection
from processors.storage.definitions import DefinitionStore
from schemas.definitions import AnyDefinition
from schemas.definitions.inbound import KafkaBridge
from schemas.topics import CATALOGUE
from workflows.definitions import DefinitionError

#: What segments depend on beside the profiles.
_OF_SEGMENTS = ("segment/", "window/", "consent/")


def _check_bridges(definitions: Iterable[AnyDefinition], prefix: str) -> None:
    """Raises DefinitionError for a bridge from a topic of our own: what it made would come back to it."""
    own = {prefix + topic.name for topic in CATALOGUE}
    for one in definitions:
        if isinstance(one, KafkaBridge) and (one.topic in own or one.topic.startswith(f"{prefix}destination-")):
            raise DefinitionError(f"{one.key}: {one.topic} is a topic of this installation's own")


async def apply_folder(
    settings: Settings,
    folder: Path,
    prune: bool,
    agreed: Callable[[list[str]], bool],
    progress: Progress = lambda line: None,
) -> bool:
    """Apply a folder of definitions if `agreed` says so to the difference; whether anything was applied.

    Where workflows merge by another trait since now, its values are claimed; where segments may have changed, all
    profiles are sent through segment. What an interrupted one has left is done, where `agreed` says so though nothing
    is to be changed. One applies at a time: the next one waits.
    Raises DefinitionError where what would be in force does not go together.
    """
    wanted, seals = read_folder(folder), Seals(settings)
    _check_bridges(wanted.values(), settings.topic_prefix)
    async with (
        await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True, **LANE_OPTIONS) as lock,
        await psycopg.AsyncConnection.connect(settings.database_url) as connection,
    ):
        shown = await _lines(connection, wanted, seals, prune)
        if not agreed(shown):
            return False
        await take_turn(lock, progress)
        if (now := await _lines(connection, wanted, seals, prune)) != shown and not agreed(now):
            return False
        current = await DefinitionStore(connection).current()
        await connection.commit()
        changes: Change = difference(current, sealed(current, wanted, seals), prune)
        after = in_force_after(current, changes)
        # First, so that no segment ever sees a window that has not been counted.
        await count_days(connection, after, progress)
        if changes:
            concerned = any(key.startswith(_OF_SEGMENTS) for key in changes)
            await apply(connection, kafka_admin(settings), settings, changes, concerned)
        else:
            await publish(connection, settings)
        await claim_traits(settings, progress)
        if await is_unfinished(connection):
            await backfill(settings, progress)
    return bool(changes)


async def _lines(connection: Connection, wanted: Mapping[str, AnyDefinition], seals: Seals, prune: bool) -> list[str]:
    """What would change, for a person. Raises DefinitionError where it does not go together."""
    current = await DefinitionStore(connection).current()
    await connection.commit()
    changes = difference(current, sealed(current, wanted, seals), prune)
    in_force_after(current, changes)
    return show(current, changes)


async def take_turn(lock: Connection, progress: Progress) -> None:
    """Wait until nobody else changes definitions; until the connection ends nobody else does."""
    cursor = await lock.execute("select pg_try_advisory_lock(hashtext('headwater apply'))")
    if await cursor.fetchone() != (True,):
        progress("waiting for another apply to be done")
        await lock.execute("select pg_advisory_lock(hashtext('headwater apply'))")
