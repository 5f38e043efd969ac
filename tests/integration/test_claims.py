"""Claims of a whole batch, on a real PostgreSQL, against the same claims one after another in plain Python."""

from datetime import UTC, datetime
from random import Random
from uuid import UUID

import pytest

from processors.storage.claims import Claims
from processors.storage.database import Connect
from schemas.profiles import MergeJob

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
UNIQUE = {"customer"}
#: The third is part of the second; nobody has stored the last.
PROFILES = [str(UUID(int=number)) for number in range(1, 6)]
ROOTS = dict(zip(PROFILES[:4], [PROFILES[0], PROFILES[1], PROFILES[1], PROFILES[3]], strict=True))

Key = tuple[str, str]


class Plain:
    """Who has which value, and who was refused one."""

    def __init__(self) -> None:
        self.owners: dict[Key, str] = {}
        self.refused: set[tuple[str, str, str]] = set()

    def link(self, job: MergeJob) -> str | None:
        key, profile = (job.namespace, job.value or ""), job.profiles[0]
        if profile not in ROOTS:
            return None
        if key not in self.owners:
            values = {
                value
                for (name, value), owner in self.owners.items()
                if name == job.namespace and ROOTS[owner] == ROOTS[profile]
            }
            if job.namespace in UNIQUE and values:
                self.refused.add((*key, profile))
                return None
            self.owners[key] = profile
        return self.owners[key]


def jobs_of(random: Random) -> list[MergeJob]:
    return [
        MergeJob(
            profiles=[random.choice(PROFILES)],
            cause="workflow",
            namespace=random.choice(["customer", "mail"]),
            value=f"v{random.randrange(4)}",
            event=f"e{number}",
        )
        for number in range(random.randint(1, 9))
    ]


@pytest.mark.parametrize("seed", range(25))
async def test_a_batch_of_claims_ends_as_the_same_claims_one_after_another(connect: Connect, seed: int) -> None:
    random, plain = Random(seed), Plain()
    async with await connect() as connection:
        for profile, root in ROOTS.items():
            await connection.execute(
                "insert into profiles (id, created_at, merged_into) values (%s, now(), %s)",
                (profile, None if root == profile else root),
            )
        for _ in range(4):
            jobs = jobs_of(random)
            assert await Claims(connection).link(jobs, AT, UNIQUE) == [plain.link(job) for job in jobs]
        linked = await connection.execute("select namespace, value, profile_id::text, sole from identifiers")
        assert set(await linked.fetchall()) == {(*key, owner, key[0] in UNIQUE) for key, owner in plain.owners.items()}
        refused = await connection.execute("select namespace, value, profile_id::text from refused_identifiers")
        assert set(await refused.fetchall()) == plain.refused
        await connection.rollback()
