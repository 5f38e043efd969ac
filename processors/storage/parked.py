"""Runs that wait, and what they have asked of the outside: run-workflows' tables."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from pydantic import ValidationError

from processors.storage.database import Connection, as_json, uuids
from schemas.definitions.automation import Workflow
from schemas.events import EMPTY_OBJECT, Resumption, WorkflowRun
from schemas.origin import Origin
from workflows.definitions import Definitions
from workflows.graph import Graph, GraphError
from workflows.running import Parked, Part
from workflows.waiting import RunState, resource_of

log = logging.getLogger("headwater.workflows")
_KEY = "origin_partition, origin_offset, origin_ordinal, workflow"
_encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode
_event = msgspec.json.Decoder(WorkflowRun).decode
_state = msgspec.json.Decoder(RunState).decode


#: What nobody has gone on with for so long was lost on its way: it is told again.
TOLD_AGAIN = timedelta(hours=1)


class ParkedRuns:
    """Runs that wait. Whoever goes on with one holds the lock of its profile's traits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def awaited_types(self) -> frozenset[str]:
        """The event types that runs may wait for, of all versions of workflows of which any waited."""
        cursor = await self._connection.execute("select distinct unnest(awaits) from workflow_versions")
        return frozenset(type for (type,) in await cursor.fetchall())

    async def owners(self, runs: Collection[tuple[Origin, str]]) -> dict[tuple[Origin, str], str | None]:
        """Those that are there, each with the profile under which its event is recorded now."""
        if not runs:
            return {}
        cursor = await self._connection.execute(
            f"select {_KEY}, e.profile_id::text from parked_runs join jsonb_to_recordset(%s::jsonb) "
            f"as k(p int, o bigint, n int, w text) on (p, o, n, w) = ({_KEY}) "
            "join events e using (origin_partition, origin_offset, origin_ordinal)",
            (_keys(runs),),
        )
        return {(Origin(p, o, n), workflow): profile for p, o, n, workflow, profile in await cursor.fetchall()}

    async def load(
        self,
        runs: Collection[tuple[Origin, str]],
        profiles: Collection[str],
        definitions: Definitions,
    ) -> list[Parked]:
        """These runs, and those of these live profiles that wait for events: each with the live profile that its event
        is of now, and the version of its workflow that it began with."""
        cursor = await self._connection.execute(
            f"with asked as (select p, o, n, w from jsonb_to_recordset(%s::jsonb) as k(p int, o bigint, n int, w text) "
            f"union select {_KEY} from parked_runs where awaits is not null and profile_id in "
            "(select id from profiles where id = any(%s::uuid[]) "
            "union all select id from profiles where merged_into = any(%s::uuid[]))) "
            "select r.event, r.workflow, r.state, r.version, coalesce(p.merged_into, p.id)::text "
            f"from asked join parked_runs r on ({_KEY}) = (asked.p, asked.o, asked.n, asked.w) "
            "join events e using (origin_partition, origin_offset, origin_ordinal) "
            f"left join profiles p on p.id = e.profile_id order by {_KEY}",
            (_keys(runs), uuids(profiles), uuids(profiles)),
        )
        found = await cursor.fetchall()
        graphs = await self._graphs({version for *_, version, _ in found}, definitions)
        return [
            Parked(msgspec.structs.replace(_event(event), profile=profile), workflow, graphs[version], _state(state))
            for event, workflow, state, version, profile in found
        ]

    async def _graphs(self, versions: Collection[str], definitions: Definitions) -> dict[str, Graph | None]:
        """None where a version cannot be run here: its action is not installed, or takes its settings no more."""
        known = definitions.graphs
        if missing := [version for version in versions if version not in known]:
            cursor = await self._connection.execute(
                "select version, definition from workflow_versions where version = any(%s)", (missing,)
            )
            for version, body in await cursor.fetchall():
                try:
                    known[version] = definitions.graph_of(Workflow.model_validate(body))
                except (GraphError, ValidationError) as error:
                    log.error("a version of workflow %s cannot be run: %s", body.get("id"), str(error).splitlines()[0])
        return {version: known.get(version) for version in versions}

    async def store(self, runs: Collection[Parked]) -> None:
        """Write down where these stand: those that wait for nothing any more are over."""
        waiting = [one for one in runs if one.state.waiting and one.graph is not None]
        over = [one.key for one in runs if not one.state.waiting]
        await self._keep_versions({one.graph.version: one.graph for one in waiting if one.graph is not None})
        if waiting:
            await self._store(waiting)
        if over:  # with the calls that they do not wait for any more
            await self._connection.execute(
                f"delete from parked_runs where ({_KEY}) in (select p, o, n, w from "
                "jsonb_to_recordset(%s::jsonb) as k(p int, o bigint, n int, w text))",
                (_keys(over),),
            )

    async def _store(self, runs: Collection[Parked]) -> None:
        rows = [
            {
                **_key(one.key),
                "profile": one.event.profile,
                "version": one.graph.version if one.graph else "",
                "event": _encode(one.event).decode(),
                "state": _encode(one.state).decode(),
                "due": one.state.due_at,
                "awaits": one.state.awaits or None,
                "calls": list(one.state.calls),
            }
            for one in runs
        ]
        of_them = (
            "jsonb_to_recordset(%s::jsonb) as k(p int, o bigint, n int, w text, profile uuid, version text, "
            "event text, state text, due timestamptz, awaits text[], calls text[])"
        )
        await self._connection.execute(
            f"insert into parked_runs ({_KEY}, profile_id, version, event, state, due_at, awaits) select p, o, n, w, "
            f"profile, version, convert_to(event, 'UTF8'), convert_to(state, 'UTF8'), due, awaits from {of_them} "
            f"order by p, o, n, w on conflict ({_KEY}) do update set profile_id = excluded.profile_id, "
            "state = excluded.state, due_at = excluded.due_at, awaits = excluded.awaits",
            (as_json(rows),),
        )
        await self._connection.execute(
            f"delete from outside_calls c using {of_them} where "
            "(c.origin_partition, c.origin_offset, c.origin_ordinal, c.workflow) = (k.p, k.o, k.n, k.w) "
            "and c.node <> all(k.calls)",
            (as_json(rows),),
        )
        asked = [
            {**_key(one.key), "id": id, "node": node, "to": resource_of(call), "call": _encode(call).decode()}
            for one in runs
            for node, (id, call) in one.asked.items()
        ]
        if asked:
            await self._connection.execute(
                f"insert into outside_calls ({_KEY}, id, node, resource, call) "
                "select p, o, n, w, id, node, \"to\", convert_to(call, 'UTF8') from jsonb_to_recordset(%s::jsonb) as "
                'k(p int, o bigint, n int, w text, id text, node text, "to" text, call text) order by id '
                "on conflict do nothing",
                (as_json(asked),),
            )

    async def _keep_versions(self, graphs: dict[str, Graph]) -> None:
        for version, graph in graphs.items():
            await self._connection.execute(
                "insert into workflow_versions (version, definition, awaits) values (%s, %s::jsonb, %s) "
                "on conflict do nothing",
                (version, graph.definition.model_dump_json(by_alias=True), sorted(graph.awaits)),
            )

    async def note(self, parts: Sequence[Part]) -> None:
        """What runs decided after they had waited."""
        rows = [
            {
                "p": part.origin.partition,
                "o": part.origin.offset,
                "n": part.origin.ordinal,
                "w": part.workflow,
                "outcome": part.outcome,
                "at": part.at,
                "changes": part.changes,
                "place": place,
            }
            for place, part in enumerate(parts)
        ]
        of_them = (
            "jsonb_to_recordset(%s::jsonb) as k(p int, o bigint, n int, w text, outcome jsonb, at timestamptz, "
            "changes jsonb, place int)"
        )
        await self._connection.execute(
            "update workflow_runs r set outcome = r.outcome || k.outcomes from "
            f"(select p, o, n, jsonb_object_agg(w, outcome order by place) as outcomes from {of_them} group by 1, 2, 3)"
            " k where (p, o, n) = (origin_partition, origin_offset, origin_ordinal)",
            (as_json(rows),),
        )
        await self._connection.execute(
            "insert into run_parts (origin_partition, origin_offset, origin_ordinal, at, place, changes) "
            f"select p, o, n, at, place, changes from {of_them} where changes <> '[]'",
            (as_json(rows),),
        )

    async def take_due(self, now: datetime, limit: int) -> list[WorkflowRun]:
        """Runs whose time has come, as run-workflows is told; again after a while, if it has not gone on with them."""
        cursor = await self._connection.execute(
            f"with due as (select {_KEY}, due_at from parked_runs where due_at <= %s order by due_at limit %s "
            "for update skip locked) "
            f"update parked_runs r set due_at = %s from due where (r.origin_partition, r.origin_offset, "
            "r.origin_ordinal, r.workflow) = (due.origin_partition, due.origin_offset, due.origin_ordinal, "
            "due.workflow) returning r.event, r.workflow",
            (now, limit, now + TOLD_AGAIN),
        )
        return [told(_event(event), Resumption(workflow, now)) for event, workflow in await cursor.fetchall()]

    async def wake_all(self) -> None:
        """Tell every run again what it may have been told: of what it still waits for, it asks again."""
        await self._connection.execute("update parked_runs set due_at = now()")


def told(event: WorkflowRun, resumption: Resumption) -> WorkflowRun:
    """The record that tells run-workflows of it: what the run knows of its event is kept with the run."""
    return msgspec.structs.replace(
        event,
        properties=EMPTY_OBJECT,
        context=EMPTY_OBJECT,
        traits={},
        consents={},
        counters={},
        workflows=[],
        resumption=resumption,
    )


def _key(run: tuple[Origin, str]) -> dict[str, Any]:
    origin, workflow = run
    return {"p": origin.partition, "o": origin.offset, "n": origin.ordinal, "w": workflow}


def _keys(runs: Collection[tuple[Origin, str]]) -> str:
    return as_json([_key(run) for run in runs])
