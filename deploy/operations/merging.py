"""`headwater merge --dry-run`: what a merge would make of several profiles, and what stands against it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from deploy.definitions import in_force
from deploy.operations.identity import REASONS, find
from deploy.settings import Settings
from processors.storage.database import Connection
from processors.storage.events import Counters
from processors.storage.merges import Merges
from processors.storage.runs import Traits
from schemas.profiles import MergeJob
from workflows.merging import decide
from workflows.profile import merge_states


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
    job = MergeJob(profiles=live, cause="operator", namespace="operator", event="", verified=True)
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
