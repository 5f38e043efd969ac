"""Values that workflows merge by: each is of the profile that claims it first, and ties whoever comes with it later."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from processors.storage.database import Connection, as_json, uuids
from processors.storage.refused import RefusedIdentifier, note_refused
from schemas.profiles import MergeJob

#: Namespace and value.
Key = tuple[str, str]


@dataclass
class _Claim:
    job: MergeJob
    #: The live profile that its profile stands for.
    root: str
    owner: str | None = None

    @property
    def key(self) -> Key:
        return self.job.namespace, self.job.value or ""

    @property
    def row(self) -> dict[str, Any]:
        return {"n": self.job.namespace, "v": self.job.value, "profile": self.job.profiles[0], "event": self.job.event}

    def refused(self, at: datetime) -> RefusedIdentifier:
        return RefusedIdentifier(*self.key, self.job.profiles[0], "unique", "workflow", self.job.event, at)


class Claims:
    """Links values to profiles, for merge."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def link(self, jobs: Sequence[MergeJob], at: datetime, unique: Collection[str]) -> list[str | None]:
        """Link each job's value to its first profile, one after another; for each job whose the value is then.

        In a `unique` namespace in which the person has another value it is not linked, and that is noted: then it may
        be nobody's, as it is for a profile that was erased since.
        """
        roots = await self._roots({job.profiles[0] for job in jobs})
        due = [_Claim(job, roots[job.profiles[0]]) if job.profiles[0] in roots else None for job in jobs]
        claims = [claim for claim in due if claim is not None]
        owners = await self._owners(claims)
        for together in _rounds(_without_owner(claims, owners), unique):
            if new := _without_owner(together, owners):
                await self._insert(new, at, unique)
                owners |= await self._owners(new)
                await note_refused(self._connection, [one.refused(at) for one in _without_owner(new, owners)])
        return [claim.owner if claim else None for claim in due]

    async def _roots(self, profiles: Collection[str]) -> dict[str, str]:
        """Each of these that is there, with the live profile that it stands for; nobody else merges or erases them."""
        cursor = await self._connection.execute(
            "select id::text, coalesce(merged_into, id)::text from profiles where id = any(%s::uuid[]) "
            "order by id for share",
            (uuids(profiles),),
        )
        return dict(await cursor.fetchall())

    async def _owners(self, claims: Iterable[_Claim]) -> dict[Key, str]:
        cursor = await self._connection.execute(
            "select i.namespace, i.value, i.profile_id::text from jsonb_to_recordset(%s::jsonb) as r(n text, v text) "
            "join identifiers i on i.namespace = r.n and i.value = r.v",
            (as_json([claim.row for claim in claims]),),
        )
        return {(namespace, value): profile for namespace, value, profile in await cursor.fetchall()}

    async def _insert(self, claims: Iterable[_Claim], at: datetime, unique: Collection[str]) -> None:
        rows = [claim.row | {"root": claim.root, "sole": claim.key[0] in unique} for claim in claims]
        await self._connection.execute(
            "insert into identifiers (namespace, value, profile_id, source, event_id, linked_at, last_seen, sole) "
            "select n, v, profile, 'workflow', event, %(at)s, date_trunc('hour', %(at)s), r.sole "
            "from jsonb_to_recordset(%(rows)s::jsonb) "
            "as r(n text, v text, profile uuid, event text, root uuid, sole boolean) "
            "where not (r.sole and exists (select from identifiers i where i.profile_id in "
            "(select r.root union all select p.id from profiles p where p.merged_into = r.root) "
            "and i.namespace = r.n)) order by n, v on conflict do nothing",
            {"rows": as_json(rows), "at": at},
        )


def _without_owner(claims: Sequence[_Claim], owners: Mapping[Key, str]) -> list[_Claim]:
    """Those whose value is nobody's; the others learn whose."""
    for claim in claims:
        claim.owner = owners.get(claim.key)
    return [claim for claim in claims if claim.owner is None]


def _rounds(claims: Iterable[_Claim], unique: Collection[str]) -> list[list[_Claim]]:
    """What may be done at once, round after round: each claim after all before it that are about its value, or about
    what of a `unique` namespace its person has."""
    rounds: list[list[_Claim]] = []
    last: dict[tuple[str, ...], int] = {}
    for claim in claims:
        about: list[tuple[str, ...]] = [("value", *claim.key)]
        if claim.key[0] in unique:
            about.append(("person", claim.root, claim.key[0]))
        number = 1 + max(last.get(one, -1) for one in about)
        last.update(dict.fromkeys(about, number))
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(claim)
    return rounds
