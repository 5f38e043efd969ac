"""What runs that wait have asked of the outside, until they have the answer: the caller's table, and run-workflows'."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from processors.storage.database import Connection
from processors.storage.parked import TOLD_AGAIN, told
from schemas.events import Answer, Resumption, WorkflowRun
from schemas.origin import Origin
from workflows.waiting import Call, resource_of

_event = msgspec.json.Decoder(WorkflowRun).decode
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


class OutsideCalls:
    """Calls that are to be made, and those under way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(
        self, now: datetime, free: Mapping[str, int], limit: int, lease: timedelta, others: bool
    ) -> list[OutsideCall]:
        """Calls that are to be made, for whoever asks alone; others may take them when the lease is over. `free`:
        resource to how many; with `others`, those of resources that it does not name too."""
        cursor = await self._connection.execute(
            "with named as (select * from unnest(%(resources)s::text[], %(free)s::int[]) as f(resource, slots)), "
            "wanted as (select c.id from named, lateral (select id from outside_calls o where o.resource = "
            "named.resource and due_at <= %(now)s order by due_at limit greatest(named.slots, 0)) c union all "
            "select id from outside_calls "
            "where %(others)s and due_at <= %(now)s and resource <> all(%(resources)s::text[])), "
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
                "others": others,
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

    async def answered(self, calls: Collection[OutsideCall], now: datetime) -> None:
        """The answers to these calls are on their way. They stay until run-workflows has them, and are made again after
        a while if it never gets them."""
        await self.renew(calls, now + TOLD_AGAIN)


def answer_to(call: OutsideCall, answer: Answer, at: datetime) -> WorkflowRun:
    """The record that tells run-workflows of an answer."""
    return told(call.event, Resumption(call.workflow, at, {call.node: answer}))
