"""`headwater workflow test`: a workflow over one event, without effects; what it asks goes to test credentials."""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from deploy.keys import profile_ids
from deploy.operations.recorded import COLUMNS, accepted
from deploy.operations.rehearsing import definitions_from, judged
from deploy.operations.reports import rows
from deploy.sealing import Seals
from deploy.settings import Settings, connected
from processors.connectors.geo import locator
from processors.connectors.guard import Guard, guarded_session
from processors.connectors.outside import Outside
from processors.runner.failures import Later
from processors.storage.database import Connection
from processors.storage.lookups import look_up
from processors.storage.runs import Traits
from schemas.events import AcceptedEvent, Answer
from workflows.actions.action import Run
from workflows.changes import field_of
from workflows.commands import Command
from workflows.definitions import Definitions
from workflows.engine import Ran, advance
from workflows.graph import Graph
from workflows.profile import ProfileState
from workflows.tracing import Trace, traced
from workflows.waiting import Call, ForEvent, ProfileCall, RunState, Until

_NOT_PROFILE = ("Emit", "SendTo", "MergeBy", "SetMembership", "Log")


class Tried(msgspec.Struct):
    """The steps in order, what would have changed of the profile (field, how, value), and what else would have
    happened: by node."""

    steps: list[Trace]
    changes: list[tuple[str, str, Any]]
    effects: list[tuple[str, Command]]
    errors: list[tuple[str, str]]


async def try_workflow(
    settings: Settings,
    name: str,
    event: bytes | str,
    folder: Path | None,
    source: str | None,
    came: Mapping[str, Any] | None,
) -> Tried:
    """Run it over an event as it is sent (bytes), or a recorded one (its id). `came`: the properties of an event that
    comes for every node that waits for one; without, none comes in time. Times are over at once.

    Raises LookupError, RehearsalError.
    """
    definitions = await definitions_from(folder, settings)
    graph = workflow_of(definitions, name)
    if isinstance(event, bytes):
        sent = _of_file(event, source, definitions, settings)
        return await _try(settings, graph, sent, ProfileState({}, {}), definitions, came, None)
    settings = connected(settings)
    async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        known = await rows(
            connection,
            f"{COLUMNS} and e.id = %(id)s and (%(source)s::text is null or e.source = %(source)s)",
            {"id": event, "source": source},
        )
        if len(known) != 1:
            raise LookupError(f"{event} is no file, and {len(known)} events with content are recorded under it")
        (sent,) = await accepted(connection, known, definitions)
        profile = sent.profile
        state = (await Traits(connection).load({profile}))[profile] if profile else ProfileState({}, {})
        return await _try(settings, graph, sent, state, definitions, came, connection)


def _of_file(body: bytes, source: str | None, definitions: Definitions, settings: Settings) -> AcceptedEvent:
    event = judged(body, source, definitions, locator(settings.geo_database))
    return AcceptedEvent(**msgspec.structs.asdict(event) | {"profile": str(uuid.UUID(int=0))}, counters={event.type: 1})


async def _try(
    settings: Settings,
    graph: Graph,
    event: AcceptedEvent,
    profile: ProfileState,
    definitions: Definitions,
    came: Mapping[str, Any] | None,
    connection: Connection | None,
) -> Tried:
    steps: list[Trace] = []
    graph, state = traced(graph, steps.append), RunState(reached=set(graph.first))
    ran = advance(graph, state, Run(event, profile, state.data), strategies=definitions.strategies)
    parts = [ran]
    guard = Guard(filter(None, settings.private_networks.split(",")))
    async with guarded_session(guard) as client:
        outside = Outside(client, guard, Seals(settings).open)

        async def ask(call: Call) -> Answer:
            if not isinstance(call, ProfileCall):
                resource = definitions.resources.get(call.resource)
                answer = await outside.ask(f"test-{uuid.uuid4()}", call, resource, test=True)
                return Answer(error=answer.error) if isinstance(answer, Later) else answer
            if connection is None:
                return Answer()
            return await look_up(connection, call, definitions, profile_ids(settings))

        at = datetime.now(UTC)
        while state.waiting:
            calls = state.calls
            answers = dict(zip(calls, await asyncio.gather(*map(ask, calls.values())), strict=True))
            for node, wait in state.waiting.items():
                if isinstance(wait, Until):
                    at, answers[node] = max(at, wait.at), Answer()
                elif isinstance(wait, ForEvent):
                    at = at if came is not None else max(at, wait.until)
                    answers[node] = Answer(is_late=True) if came is None else _came(wait, at, came)
            run = Run(event, profile, state.data, at)
            parts.append(advance(graph, state, run, answers, definitions.strategies))
    return _told(steps, parts)


def _came(wait: ForEvent, at: datetime, properties: Mapping[str, Any]) -> Answer:
    return Answer({"id": "test", "type": wait.types[0], "time": at, "properties": properties})


def _told(steps: list[Trace], parts: list[Ran]) -> Tried:
    changes = [(field_of(change), change[0], change[2]) for part in parts for change in part.changes]
    effects = [
        (node, command) for part in parts for node, command in part.commands if type(command).__name__ in _NOT_PROFILE
    ]
    return Tried(steps, changes, effects, list(parts[-1].errors))


def workflow_of(definitions: Definitions, name: str) -> Graph:
    """A workflow's graph, its draft's where there is one. Raises LookupError."""
    graph = definitions.drafts.get(name) or definitions.workflows.get(name)
    if graph is None:
        raise LookupError(f"there is no workflow {name!r} (there are: {', '.join(sorted(definitions.workflows))})")
    return graph
