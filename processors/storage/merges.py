"""Merges: the one place that writes other stages' tables, in the transaction that moves the pointer."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from processors.runner.failures import Unavailable
from processors.storage.database import Connection, as_json, uuids
from processors.storage.identities import Identities
from processors.storage.moving import Moving
from processors.storage.runs import Traits
from schemas.definitions.identity import Strategy
from schemas.profiles import MergeJob
from workflows.definitions import Definitions
from workflows.merging import Candidate, Decision
from workflows.profile import merge_states

#: So often a group may have grown until it is locked.
_MOST_ROUNDS = 10


class Merges:
    """Finds who is concerned, and carries decisions out."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def answer(self, jobs: Iterable[MergeJob]) -> None:
        """Nobody waits for these any more."""
        rows = [{"p": p, "o": o} for job in jobs for p in job.profiles for o in job.profiles if p != o]
        await self._connection.execute(
            "delete from asked_joins j using jsonb_to_recordset(%s::jsonb) as r(p uuid, o uuid) "
            "where j.profile_id = r.p and j.other_id = r.o",
            (as_json(rows),),
        )

    async def lock(self, ids: Collection[str], definitions: Definitions) -> dict[str, Candidate]:
        """For each id the live profile that it stands for, all of their groups being locked. Raises Unavailable."""
        rows = await self.lock_groups(set(ids))
        roots = {id: rows[id][1] or id for id in ids if id in rows}
        unique = await self._unique_values(set(roots.values()), definitions.unique_namespaces())
        refusing = await self._traits(set(roots.values()), definitions.refusing_traits())
        apart = await Identities(self._connection).apart(set(roots.values()))
        sizes = Counter(merged_into or id for id, (_, merged_into) in rows.items())
        return {
            id: Candidate(
                root,
                rows[root][0],
                frozenset(unique.get(root, ())),
                sizes[root],
                frozenset(refusing.get(root, ())),
                frozenset(apart.get(root, ())),
            )
            for id, root in roots.items()
        }

    async def lock_groups(self, ids: set[str]) -> dict[str, tuple[datetime, str | None]]:
        """Keep everybody else from these, their survivors, and all that is part of those: each with its birth and
        whose part it is.

        One sorted round: where a group has grown until it was locked, all is let go before the next try, as who waits
        while it holds something may wait for ever. Raises Unavailable where it goes on growing.
        """
        for _ in range(_MOST_ROUNDS):
            await self._connection.execute("savepoint groups")
            rows = await self._lock_rows(ids)
            if await self._are_all(rows):
                return rows
            await self._connection.execute("rollback to savepoint groups")
        raise Unavailable("profiles go on being merged")

    async def _lock_rows(self, ids: Collection[str]) -> dict[str, tuple[datetime, str | None]]:
        """Lock the ids, their survivors, and all that was merged into those, as far as it is known before the wait."""
        cursor = await self._connection.execute(
            "with roots as (select coalesce(merged_into, id) as id from profiles where id = any(%s::uuid[])), "
            "groups as (select id from roots union select p.id from profiles p join roots on p.merged_into = roots.id) "
            "select id::text, created_at, merged_into::text from profiles where id in (select id from groups) "
            "order by id for update",
            (uuids(ids),),
        )
        return {id: (created_at, merged_into) for id, created_at, merged_into in await cursor.fetchall()}

    async def _are_all(self, rows: Mapping[str, tuple[datetime, str | None]]) -> bool:
        """Whether nobody else is part of these: who became so during the wait for them, no survivor's row tells."""
        parts = [merged_into for _, merged_into in rows.values() if merged_into]
        if not rows.keys() >= set(parts):
            return False
        cursor = await self._connection.execute(
            "select count(*) from profiles where merged_into = any(%s::uuid[])",
            (uuids([id for id, (_, merged_into) in rows.items() if not merged_into]),),
        )
        return await cursor.fetchone() == (len(parts),)

    async def _unique_values(
        self, roots: Collection[str], namespaces: Sequence[str]
    ) -> dict[str, set[tuple[str, str]]]:
        found: dict[str, set[tuple[str, str]]] = {}
        if namespaces:
            cursor = await self._connection.execute(
                "select coalesce(p.merged_into, p.id)::text, i.namespace, i.value from profiles p "
                "join identifiers i on i.profile_id = p.id and i.namespace = any(%s) "
                "where p.id = any(%s::uuid[]) or p.merged_into = any(%s::uuid[])",
                (list(namespaces), uuids(roots), uuids(roots)),
            )
            for root, namespace, value in await cursor.fetchall():
                found.setdefault(root, set()).add((namespace, value))
        return found

    async def _traits(self, roots: Collection[str], names: Sequence[str]) -> dict[str, set[tuple[str, str]]]:
        found: dict[str, set[tuple[str, str]]] = {}
        if names:
            cursor = await self._connection.execute(
                "select profile_id::text, t.key, (t.value->0)::text from profile_traits, jsonb_each(traits) t "
                "where profile_id = any(%s::uuid[]) and t.key = any(%s)",
                (uuids(roots), list(names)),
            )
            for root, name, value in await cursor.fetchall():
                found.setdefault(root, set()).add((name, value))
        return found

    async def carry_out(
        self, decisions: Sequence[Decision], roots: Mapping[str, Candidate], strategies: Mapping[str, Strategy]
    ) -> dict[str, str]:
        """Write the merges of these `roots`, as `lock` gave them. Every profile whose pointer moved, with the one that
        it is part of in the end: the absorbed ones, and those that had been absorbed by them."""
        await self._report_conflicts([decision for decision in decisions if decision.conflict])
        merged = [decision for decision in decisions if not decision.conflict]
        final = _final_survivors(merged)
        if final:
            await self._audit(merged)
            rows = as_json([{"a": absorbed, "s": survivor} for absorbed, survivor in final.items()])
            seniority = {candidate.id: candidate.seniority for candidate in roots.values()}
            everybody = sorted(final.keys() | set(final.values()), key=seniority.__getitem__)
            await self._move_traits(everybody, final, strategies)
            moving = Moving(self._connection)
            await moving.counters(rows)
            await moving.days(rows)
            await moving.memberships(rows)
            await moving.consents(rows)
            moved = await self._point(rows)
            if any(candidate.apart for candidate in roots.values()):
                await self._together_again(set(final.values()))
            return moved
        return {}

    async def _together_again(self, survivors: Collection[str]) -> None:
        """Whom an operator had parted, and has merged again."""
        await self._connection.execute(
            "delete from kept_apart k using profiles p, profiles o where p.id = k.profile_id and o.id = k.other_id "
            "and coalesce(p.merged_into, p.id) = coalesce(o.merged_into, o.id) "
            "and coalesce(p.merged_into, p.id) = any(%s::uuid[])",
            (uuids(survivors),),
        )

    async def _audit(self, merged: Iterable[Decision]) -> None:
        rows = [
            {
                "survivor": decision.survivor,
                "absorbed": absorbed,
                "cause": decision.job.cause,
                "namespace": decision.job.namespace,
                "event_id": decision.job.event,
            }
            for decision in merged
            for absorbed in decision.absorbed
        ]
        await self._connection.execute(
            "insert into merges (survivor, absorbed, cause, namespace, event_id, before) "
            "select r.survivor, r.absorbed, r.cause, r.namespace, r.event_id, jsonb_build_object("
            "'created_at', p.created_at, 'traits', t.traits, 'totals', t.totals, 'counters', "
            "(select jsonb_object_agg(type, count) from profile_counters where profile_id = r.absorbed), "
            "'consents', (select coalesce(jsonb_agg(jsonb_build_object('consent', consent, 'granted', granted, "
            "'at', at, 'event_id', event_id)), '[]') from consents where profile_id = r.absorbed)) "
            "from jsonb_to_recordset(%s::jsonb) "
            "as r(survivor uuid, absorbed uuid, cause text, namespace text, event_id text) "
            "join profiles p on p.id = r.absorbed left join profile_traits t on t.profile_id = r.absorbed",
            (as_json(rows),),
        )

    async def _move_traits(
        self, everybody: Sequence[str], final: Mapping[str, str], strategies: Mapping[str, Strategy]
    ) -> None:
        """`everybody`: who is concerned, the oldest first."""
        traits = Traits(self._connection)
        states = await traits.load(everybody)
        groups: dict[str, list[str]] = {}
        for id in everybody:
            groups.setdefault(final.get(id, id), []).append(id)
        merged = {survivor: merge_states((states[id] for id in ids), strategies) for survivor, ids in groups.items()}
        changed = {id: state for id, state in merged.items() if state.traits or state.totals}
        if changed:
            await traits.store(changed)
        await self._connection.execute("delete from profile_traits where profile_id = any(%s::uuid[])", (uuids(final),))

    async def by_seniority(self, ids: Collection[str]) -> list[str]:
        """The ids, the oldest profile first."""
        cursor = await self._connection.execute(
            "select id::text from profiles where id = any(%s::uuid[]) order by created_at, id", (uuids(ids),)
        )
        return [id for (id,) in await cursor.fetchall()]

    async def _point(self, rows: str) -> dict[str, str]:
        cursor = await self._connection.execute(
            "with map as (select * from jsonb_to_recordset(%s::jsonb) as r(a uuid, s uuid)) "
            "update profiles p set merged_into = map.s from map where p.id = map.a or p.merged_into = map.a "
            "returning p.id::text, p.merged_into::text",
            (rows,),
        )
        return dict(await cursor.fetchall())

    async def _report_conflicts(self, conflicts: Iterable[Decision]) -> None:
        rows = [
            {
                "profiles": sorted([decision.survivor, *decision.absorbed]),
                "namespace": decision.namespace,
                "reason": decision.conflict,
                "asked": decision.job.namespace,
                "event_id": decision.job.event,
            }
            for decision in conflicts
        ]
        if rows:
            await self._connection.execute(
                "insert into merge_conflicts (profiles, namespace, reason, asked_namespace, event_id) "
                "select profiles, namespace, reason, asked, event_id from jsonb_to_recordset(%s::jsonb) "
                "as r(profiles uuid[], namespace text, reason text, asked text, event_id text) on conflict do nothing",
                (as_json(rows),),
            )


def _final_survivors(merged: Sequence[Decision]) -> dict[str, str]:
    final: dict[str, str] = {}
    for decision in reversed(merged):  # who survives one may be absorbed in a later one
        final.update(dict.fromkeys(decision.absorbed, final.get(decision.survivor, decision.survivor)))
    return final
