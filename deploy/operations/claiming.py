"""Merge by a trait, for people who are known already: everybody's value of it becomes an identifier."""

from contextlib import closing
from typing import Any

import psycopg

from deploy.definitions import in_force
from deploy.kafka import client_config
from deploy.keys import profile_ids
from deploy.operations.backfilling import PORTION, Progress
from deploy.settings import Settings
from processors.runner.publisher import Publisher
from processors.storage.database import Connection
from schemas.profiles import MergeJob
from schemas.topics import MERGE_JOBS
from workflows.actions.profile import MergeConfig
from workflows.definitions import Definitions
from workflows.identification import Identifiers


async def claim_traits(settings: Settings, progress: Progress) -> None:
    """Ask merge to claim the values of traits by which workflows merge since now. After a crash it begins anew: a value
    is claimed once."""
    async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
        definitions = await in_force(connection)
        wanted = merged_by(definitions)
        await connection.execute("delete from claimed_traits where not trait = any(%s)", (sorted(wanted),))
        cursor = await connection.execute("select trait from claimed_traits")
        new = sorted(wanted - {trait for (trait,) in await cursor.fetchall()})
        identifiers = Identifiers(definitions, profile_ids(settings).hide)
        with closing(Publisher(client_config(settings), settings.topic_prefix)) as publisher:
            for trait in new:
                await _claim(connection, publisher, identifiers, trait, progress)
                await connection.execute("insert into claimed_traits (trait) values (%s)", (trait,))
                await connection.commit()


def merged_by(definitions: Definitions) -> set[str]:
    """The traits by which workflows merge."""
    return {
        step.config.trait
        for graph in definitions.workflows.values()
        for step in graph.steps
        if isinstance(step.config, MergeConfig)
    }


async def _claim(
    connection: Connection, publisher: Publisher, identifiers: Identifiers, trait: str, progress: Progress
) -> None:
    position, claimed = None, 0
    while portion := await _next_values(connection, trait, position):
        jobs = [
            MergeJob(profiles=[id], cause="workflow", namespace=key[0], value=key[1], event=event or "")
            for id, value, event in portion
            if (key := identifiers.key(trait, value))
        ]
        await publisher.publish([MERGE_JOBS.encode(job) for job in jobs])
        position, claimed = portion[-1][0], claimed + len(jobs)
        progress(f"{claimed:,} values of {trait} claimed")


async def _next_values(connection: Connection, trait: str, after: str | None) -> list[tuple[str, Any, str | None]]:
    cursor = await connection.execute(
        "select profile_id::text, traits->%(trait)s->0, traits->%(trait)s->>2 from profile_traits "
        "where traits ? %(trait)s and (%(after)s::uuid is null or profile_id > %(after)s::uuid) "
        "order by profile_id limit %(limit)s",
        {"trait": trait, "after": after, "limit": PORTION},
    )
    return [(id, value, event) for id, value, event in await cursor.fetchall()]
