"""Runs that wait, and what they have asked of the outside: run-workflows' tables."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from processors.storage.database import Connection, as_json, uuids
from schemas.definitions.automation import Workflow
from schemas.events import EMPTY_OBJECT, Answer, Resumption, WorkflowRun
from schemas.origin import Origin
from workflows.definitions import Definitions
from workflows.graph import Graph
from workflows.running import Parked, Part
from workflows.waiting import Call, ProfileCall, RunState

_KEY = "origin_partition, origin_offset, origin_ordinal, workflow"
_encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode
_event = msgspec.json.Decoder(WorkflowRun).decode
_state = msgspec.json.Decoder(RunState).decode
_call = msgspec.json.Decoder(Call).decode


class OutsideCall(msgspec.Struct, frozen=True):
    """Something that a run asks of the outside, and how often that was tried before. `id` stays the same."""

    id: str
    origin: Origin
    workflow: str
    node: str
    call: Call
    tries: int
    event: WorkflowRun

    @property
    def resource(self) -> str:
        """Whom it asks; '' is ourselves."""
        return resource_of(self.call)


def resource_of(call: Call) -> str:
    """Whom a call asks; '' is ourselves."""
    return "" if isinstance(call, ProfileCall) else call.resource


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
            f"select r.event, r.state, r.version, coalesce(p.merged_into, p.id)::text from parked_runs r "
            "join events e using (origin_partition, origin_offset, origin_ordinal) "
            "left join profiles p on p.id = e.profile_id "
            f"where ({_KEY}) in (select p, o, n, w from jsonb_to_recordset(%s::jsonb) "
            "as k(p int, o bigint, n int, w text)) or (r.awaits is not null and r.profile_id in "
            "(select id from profiles where id = any(%s::uuid[]) or merged_into = any(%s::uuid[]))) "
            f"order by {_KEY}",
            (_keys(runs), uuids(profiles), uuids(profiles)),
        )
        found = await cursor.fetchall()
        graphs = await self._graphs({version for _, _, version, _ in found}, definitions)
        return [
            Parked(msgspec.structs.replace(_event(event), profile=profile), graphs[version], _state(state))
            for event, state, version, profile in found
        ]

    async def _graphs(self, versions: Collection[str], definitions: Definitions) -> dict[str, Graph]:
        known = definitions.graphs
        if missing := [version for version in versions if version not in known]:
            cursor = await self._connection.execute(
                "select version, definition from workflow_versions where version = any(%s)", (missing,)
            )
            for version, body in await cursor.fetchall():
                known[version] = definitions.graph_of(Workflow.model_validate(body))
        return {version: known[version] for version in versions}

    async def store(self, runs: Collection[Parked]) -> None:
        """Write down where these stand: those that wait for nothing any more are over."""
        waiting = [one for one in runs if one.state.waiting]
        over = [one.key for one in runs if not one.state.waiting]
        await self._keep_versions({one.graph.version: one.graph for one in waiting})
        for one in waiting:
            await self._store(one)
        if over:
            for table in ("parked_runs", "outside_calls"):
                await self._connection.execute(
                    f"delete from {table} where ({_KEY}) in (select p, o, n, w from "
                    "jsonb_to_recordset(%s::jsonb) as k(p int, o bigint, n int, w text))".encode(),
                    (_keys(over),),
                )

    async def _store(self, one: Parked) -> None:
        event, state, origin = one.event, one.state, one.event.origin
        await self._connection.execute(
            f"insert into parked_runs ({_KEY}, profile_id, version, event, state, due_at, awaits) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            f"on conflict ({_KEY}) do update set profile_id = excluded.profile_id, state = excluded.state, "
            "due_at = excluded.due_at, awaits = excluded.awaits",
            (
                *(origin.partition, origin.offset, origin.ordinal, one.graph.id, event.profile, one.graph.version),
                *(_encode(event), _encode(state), state.due_at, state.awaits or None),
            ),
        )
        for node, (id, call) in one.asked.items():
            await self._connection.execute(
                f"insert into outside_calls ({_KEY}, id, node, resource, call) "
                "values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
                (
                    *(origin.partition, origin.offset, origin.ordinal, one.graph.id),
                    *(id, node, resource_of(call), _encode(call)),
                ),
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
        """Runs whose time has come, as run-workflows is told: once by each who asks, but for crashes."""
        cursor = await self._connection.execute(
            f"with due as (select {_KEY}, due_at from parked_runs where due_at <= %s order by due_at limit %s "
            "for update skip locked) "
            f"update parked_runs r set due_at = null from due where (r.origin_partition, r.origin_offset, "
            "r.origin_ordinal, r.workflow) = (due.origin_partition, due.origin_offset, due.origin_ordinal, "
            "due.workflow) returning r.event, r.workflow, due.due_at",
            (now, limit),
        )
        return [told(_event(event), Resumption(workflow, at)) for event, workflow, at in await cursor.fetchall()]

    async def take_calls(
        self, now: datetime, free: Mapping[str, int], limit: int, lease: timedelta
    ) -> list[OutsideCall]:
        """Calls that are to be made, for whoever asks alone; others may take them when the lease is over. `free`:
        resource to how many; of one that it does not name, as many as there are."""
        cursor = await self._connection.execute(
            "with named as (select * from unnest(%(resources)s::text[], %(free)s::int[]) as f(resource, slots)), "
            "wanted as (select c.id from named, lateral (select id from outside_calls o where o.resource = "
            "named.resource and due_at <= %(now)s order by due_at limit greatest(named.slots, 0)) c union all "
            "select id from outside_calls where due_at <= %(now)s and resource <> all(%(resources)s::text[])), "
            "due as (select id from outside_calls where id in (select id from wanted limit %(limit)s) "
            "and due_at <= %(now)s for update skip locked) "
            "update outside_calls c set due_at = %(until)s, tries = tries + 1 from due, parked_runs r "
            "where c.id = due.id and (r.origin_partition, r.origin_offset, r.origin_ordinal, r.workflow) = "
            "(c.origin_partition, c.origin_offset, c.origin_ordinal, c.workflow) "
            "returning c.id, c.origin_partition, c.origin_offset, c.origin_ordinal, c.workflow, c.node, c.call, "
            "c.tries - 1, r.event",
            {
                "now": now,
                "until": now + lease,
                "limit": max(limit, 0),
                "resources": list(free),
                "free": list(free.values()),
            },
        )
        return [
            OutsideCall(id, Origin(p, o, n), workflow, node, _call(call), tries, _event(event))
            for id, p, o, n, workflow, node, call, tries, event in await cursor.fetchall()
        ]

    async def renew(self, calls: Collection[OutsideCall], until: datetime) -> None:
        """These calls are still under way."""
        await self._connection.execute(
            "update outside_calls set due_at = %s where id = any(%s)", (until, [call.id for call in calls])
        )

    async def try_again(self, call: OutsideCall, at: datetime) -> None:
        """The call is to be made again then."""
        await self._connection.execute("update outside_calls set due_at = %s where id = %s", (at, call.id))

    async def answered(self, calls: Collection[OutsideCall]) -> None:
        """These calls are done."""
        await self._connection.execute("delete from outside_calls where id = any(%s)", ([call.id for call in calls],))

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


def answer_to(call: OutsideCall, answer: Answer, at: datetime) -> WorkflowRun:
    """The record that tells run-workflows of an answer."""
    return told(call.event, Resumption(call.workflow, at, {call.node: answer}))


def _keys(runs: Collection[tuple[Origin, str]]) -> str:
    rows: list[Any] = [{"p": o.partition, "o": o.offset, "n": o.ordinal, "w": workflow} for o, workflow in runs]
    return as_json(rows)
