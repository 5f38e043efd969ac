"""Who is who, and why: the identity graph explained in sentences."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from deploy.definitions import in_force
from deploy.keys import profile_ids
from deploy.operations.reports import rows
from deploy.settings import Settings
from processors.storage.database import Connection
from workflows.identification import Identifiers
from workflows.merging import OPERATOR

#: Why a guard said no.
REASONS = {
    "unique": "they have different values in the unique namespace {namespace}",
    "both_identified": "both were identified already, and {namespace} is too weak to join such two",
    "trait": "they have different values of the trait {namespace}, which refuses that",
    "too_many_profiles": "together they would have been more profiles than the guards allow",
    "kept_apart": "an operator has parted them",
    "too_many_identifiers": "that person has as many identifiers as the guards allow",
}


class Named(NamedTuple):
    """A profile as somebody named it: how, the profile itself, and the live one that it is part of."""

    name: str
    id: str
    live: str


class Why(NamedTuple):
    """Whether two names are one person's, and the sentences that say why."""

    same: bool
    sentences: list[str]


async def find(connection: Connection, settings: Settings, name: str) -> Named:
    """The profile that a name stands for: an id, or NAMESPACE:VALUE. Raises LookupError."""
    namespace, colon, value = name.partition(":")
    if not colon:
        found = await rows(
            connection,
            "select id::text, coalesce(merged_into, id)::text as live from profiles where id = %(id)s",
            {"id": _uuid(name)},
        )
    else:
        key = Identifiers(await in_force(connection), profile_ids(settings).hide).key(namespace, value)
        found = await rows(
            connection,
            "select p.id::text, coalesce(p.merged_into, p.id)::text as live from identifiers i "
            "join profiles p on p.id = i.profile_id where i.namespace = %(namespace)s and i.value = any(%(values)s)",
            {"namespace": namespace, "values": [value, *(key or ())[1:]]},
        )
    if not found:
        raise LookupError(f"there is no profile {name}")
    return Named(name, found[0]["id"], found[0]["live"])


def _uuid(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError:
        raise LookupError(f"there is no profile {name}") from None


async def why(connection: Connection, settings: Settings, one: str, other: str) -> Why:
    """Whether two names are one person's, and why. Raises LookupError for who is not known."""
    first, second = await find(connection, settings, one), await find(connection, settings, other)
    if first.live != second.live:
        return Why(
            False, [f"They are two people: {_is(first)}, {_is(second)}.", *await _refusals(connection, first, second)]
        )
    if first.id == second.id:
        told = [] if ":" not in one + other else ["Both were linked to it directly."]
        return Why(True, [f"They are one profile, {first.live}.", *told])
    merged = await _merges(connection, [first.id, second.id])
    return Why(True, [f"They are one person: {_is(first)}, {_is(second)}.", *map(_merge, merged)])


def _is(named: Named) -> str:
    if named.name == named.live:
        return named.live
    part = "" if named.id == named.live else f", now part of {named.live}"
    return f"{named.name} is profile {named.id}{part}" if named.name != named.id else f"{named.id}{part}"


async def _merges(connection: Connection, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The merges by which these profiles came to where they are, oldest first."""
    return await rows(
        connection,
        "with recursive way as (select m.* from merges m where m.absorbed = any(%(ids)s::uuid[]) "
        "and m.undone_at is null union select m.* from merges m join way on m.absorbed = way.survivor "
        "and m.id > way.id and m.undone_at is null) "
        "select way.id, survivor::text, absorbed::text, cause, namespace, event_id, merged_at, "
        "(select min(source) from events e where e.id = way.event_id) as source from way order by way.id",
        {"ids": list(ids)},
    )


def _merge(row: dict[str, Any]) -> str:
    by = f"event {row['event_id']}" + (f" of {row['source']}" if row["source"] else "")
    if row["cause"] == OPERATOR:
        return f"{_time(row['merged_at'])}: {row['absorbed']} became part of {row['survivor']}, as an operator asked."
    because = (
        f"a workflow that ran for {by} merged by {row['namespace']}"
        if row["cause"] == "workflow"
        else f"{by} showed a value of {row['namespace']} that tied them together"
    )
    return f"{_time(row['merged_at'])}: {row['absorbed']} became part of {row['survivor']}, because {because}."


async def _refusals(connection: Connection, first: Named, second: Named) -> list[str]:
    conflicts = await rows(
        connection,
        "select reason, namespace, asked_namespace, event_id, first_at from merge_conflicts c "
        "where %(both)s::uuid[] <@ (select array_agg(coalesce(p.merged_into, p.id)) from profiles p "
        "where p.id = any(c.profiles)) order by first_at",
        {"both": [first.live, second.live]},
    )
    told = [
        f"{_time(row['first_at'])}: event {row['event_id']} tied them together by {row['asked_namespace']}, and they "
        f"were not merged: {REASONS[row['reason']].format(namespace=row['namespace'])}."
        for row in conflicts
    ]
    return [*told, *await _partings(connection, first, second)] or ["Nothing that was seen ties them together."]


async def _partings(connection: Connection, first: Named, second: Named) -> list[str]:
    parted = await rows(
        connection,
        "select parted_at from kept_apart k "
        "join profiles p on p.id = k.profile_id join profiles o on o.id = k.other_id "
        "where coalesce(p.merged_into, p.id) = %(one)s::uuid and coalesce(o.merged_into, o.id) = %(other)s::uuid",
        {"one": first.live, "other": second.live},
    )
    return [f"{_time(row['parted_at'])}: an operator undid their merge, and they are kept apart." for row in parted]


async def conflicts(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """What guards stopped, latest first: merges that were refused, and identifiers that were not linked."""
    return await rows(
        connection,
        "select first_at, 'merge' as what, reason, asked_namespace as namespace, event_id, profiles::text[] "
        "from merge_conflicts union all "
        "select first_at, 'identifier', reason, namespace, event_id, array[profile_id::text] from refused_identifiers "
        "order by first_at desc limit %(limit)s",
        {"limit": limit},
    )


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
