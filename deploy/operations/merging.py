"""`headwater merge` and `unmerge`: what they would make of people, and asking the stage merge to do it."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec

from deploy.definitions import in_force
from deploy.kafka import client_config
from deploy.keys import profile_ids
from deploy.operations.identity import REASONS, find
from deploy.settings import Settings
from processors.runner.failures import Poison
from processors.runner.publisher import Publisher
from processors.steps.merge import part
from processors.storage.database import Connection
from processors.storage.events import Counters
from processors.storage.merges import Merges
from processors.storage.partings import Parted, Partings
from processors.storage.runs import Traits
from schemas.profiles import MergeJob
from schemas.topics import MERGE_JOBS
from workflows.merging import OPERATOR, decide
from workflows.profile import merge_states

#: How long to wait for merge.
WAIT_S = 30.0


class MergingError(Exception):
    """What was asked for was not done; the message says why."""


class Plan(msgspec.Struct):
    """The outcome of a merge that was not carried out."""

    #: None where all are one profile already.
    survivor: str | None
    absorbed: list[str] = []
    #: Why it would be refused.
    refused: str | None = None
    #: Trait to its value, and the profile that the value comes from (none where it is made of several).
    traits: dict[str, tuple[Any, str | None]] = {}
    totals: dict[str, Any] = {}
    counters: dict[str, int] = {}


async def plan_merge(connection: Connection, settings: Settings, names: Sequence[str]) -> Plan:
    """What would become of the people of these names. Nothing is changed. Raises LookupError for who is not known."""
    definitions = await in_force(connection)
    live = [(await find(connection, settings, name)).live for name in names]
    merges = Merges(connection)
    job = MergeJob(profiles=live, cause=OPERATOR, namespace="operator", event="", verified=True)
    async with connection.transaction(force_rollback=True):
        decisions = decide([job], await merges.lock(live, definitions), definitions)
    if not decisions:
        return Plan(None)
    (decision,) = decisions
    plan = Plan(decision.survivor, list(decision.absorbed))
    if decision.conflict:
        plan.refused = REASONS[decision.conflict].format(namespace=decision.namespace)
    everybody = await merges.by_seniority(live)
    states, counters = await Traits(connection).load(everybody), await Counters(connection).load(everybody)
    merged = merge_states((states[id] for id in everybody), definitions.strategies)
    plan.totals = dict(merged.totals)
    for name, trait in merged.traits.items():
        source = next((id for id in everybody if states[id].traits.get(name) == trait), None)
        plan.traits[name] = (trait.value, source)
    for id in everybody:
        for type, count in counters[id].items():
            plan.counters[type] = plan.counters.get(type, 0) + count
    return plan


async def merge(connection: Connection, settings: Settings, names: Sequence[str]) -> Plan:
    """Have the people of these names merged. What was done, or why it was refused. Raises LookupError, MergingError."""
    plan = await plan_merge(connection, settings, names)
    if plan.survivor is None or plan.refused:
        return plan
    job = MergeJob(profiles=[plan.survivor, *plan.absorbed], cause=OPERATOR, namespace="operator", event="")
    pointed = "select count(*) = %s from profiles where id = any(%s::uuid[]) and merged_into = %s"
    await have_done(connection, settings, job, pointed, (len(plan.absorbed), plan.absorbed, plan.survivor))
    return plan


async def plan_unmerge(connection: Connection, settings: Settings, id: str) -> Parted | None:
    """What would become of an unmerge; None where the profile is part of no other. Nothing is changed.

    Raises LookupError for who is not known, MergingError where what was whose cannot be told any more.
    """
    named = await find(connection, settings, id)
    definitions = await in_force(connection)
    try:
        async with connection.transaction(force_rollback=True):
            return await part(named.id, definitions, profile_ids(settings), Merges(connection), Partings(connection))
    except Poison as error:
        raise MergingError("their events are of before the change log: what was whose cannot be told") from error


async def unmerge(connection: Connection, settings: Settings, id: str) -> Parted | None:
    """Undo the merge by which the profile became part of another. Raises as `plan_unmerge`."""
    plan = await plan_unmerge(connection, settings, id)
    if plan is not None:
        job = MergeJob(profiles=[plan.left], cause=OPERATOR, namespace="operator", event="", act="part")
        free = "select merged_into is null from profiles where id = %s"
        await have_done(connection, settings, job, free, (plan.left,))
    return plan


async def have_done(
    connection: Connection, settings: Settings, job: MergeJob, done: str, values: tuple[Any, ...]
) -> None:
    """Give merge the job, and wait until the query `done` says yes."""
    with closing(Publisher(client_config(settings), settings.topic_prefix)) as publisher:
        await publisher.publish([MERGE_JOBS.encode(job)])
    deadline = time.monotonic() + WAIT_S
    while True:
        row = await (await connection.execute(done.encode(), values)).fetchone()
        await connection.rollback()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise MergingError(f"merge has not done it within {WAIT_S:.0f} s; it will when it comes to it")
        await asyncio.sleep(0.2)
