"""`headwater reprocess`: events that stayed `received`, through today's rules."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing, nullcontext

import msgspec
import psycopg
from psycopg.rows import dict_row

from deploy.definitions import in_force
from deploy.installation import publish_definitions
from deploy.kafka import client_config, kafka_admin
from deploy.operations.draining import drain
from deploy.operations.recorded import COLUMNS, accepted
from deploy.settings import Settings
from processors.runner.publisher import Publisher
from processors.storage.database import Connection
from schemas.events import AcceptedEvent, WorkflowRun
from schemas.topics import WORKFLOW_RUNS
from workflows.definitions import Definitions
from workflows.rules import Explained, choose_workflows, explain

PORTION = 1000


class Outcome(msgspec.Struct):
    """What was, or would be, sent."""

    looked_at: int = 0
    wanted: int = 0
    by_workflow: Counter[str] = msgspec.field(default_factory=Counter)


async def reprocess(settings: Settings, type: str | None, source: str | None, dry_run: bool) -> Outcome:
    """Send events without a run to `workflow-runs` where a rule wants them now; run-workflows runs each once.

    Conditions see the profile's counters as they are now. Ephemeral events have no content left to run on: passed over.
    Raises StuckError where events are on their way to run-workflows, and do not arrive.
    """
    outcome = Outcome()
    await publish_definitions(settings)
    async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        # What only has not run yet is not to be taken for what no rule wanted.
        await drain(connection, kafka_admin(settings), ("route", "run-workflows"), lambda stage, lag: None)
    with nullcontext() if dry_run else closing(Publisher(client_config(settings), settings.topic_prefix)) as publisher:
        async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
            definitions = await in_force(connection)
            async for portion in _received(connection, type, source, definitions):
                outcome.looked_at += len(portion)
                runs = _wanted(portion, definitions)
                outcome.wanted += len(runs)
                outcome.by_workflow.update(workflow for run in runs for workflow in run.workflows)
                if publisher is not None:
                    await publisher.publish([WORKFLOW_RUNS.encode(run) for run in runs])
    return outcome


def _wanted(events: list[AcceptedEvent], definitions: Definitions) -> list[WorkflowRun]:
    """Runs for the events that a rule wants, to be made by whoever knows the definitions of this revision."""
    chosen = [(event, choose_workflows(event, definitions)[0]) for event in events]
    return [
        WorkflowRun(**msgspec.structs.asdict(event), workflows=workflows, routed_revision=definitions.revision)
        for event, workflows in chosen
        if workflows
    ]


async def _received(
    connection: psycopg.AsyncConnection[tuple[object, ...]],
    type: str | None,
    source: str | None,
    definitions: Definitions,
) -> AsyncIterator[list[AcceptedEvent]]:
    """Recorded events without a run, oldest first, in portions."""
    async with connection.cursor(name="received", row_factory=dict_row) as cursor:
        await cursor.execute(_RECEIVED, {"type": type, "source": source})
        while rows := await cursor.fetchmany(PORTION):
            yield await accepted(connection, rows, definitions)


_RECEIVED = (
    COLUMNS
    + """
  and (%(type)s::text is null or e.type = %(type)s) and (%(source)s::text is null or e.source = %(source)s)
  and not exists (select from workflow_runs r where r.origin_partition = e.origin_partition
                  and r.origin_offset = e.origin_offset and r.origin_ordinal = e.origin_ordinal)
order by e.origin_partition, e.origin_offset, e.origin_ordinal
"""
)


async def explain_event(connection: Connection, id: str, source: str | None) -> list[Explained]:
    """What today's rules say to a recorded event. Raises LookupError where there is none of that id with its content,
    or several sources have one."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"{COLUMNS} and e.id = %(id)s and (%(source)s::text is null or e.source = %(source)s)".encode(),
            {"id": id, "source": source},
        )
        rows = await cursor.fetchall()
    if not rows:
        raise LookupError(f"no event {id!r} is recorded with its content")
    if len(rows) > 1:
        raise LookupError(f"several sources have an event {id!r}: say which with --source")
    definitions = await in_force(connection)
    (event,) = await accepted(connection, rows, definitions)
    return explain(event, definitions)
