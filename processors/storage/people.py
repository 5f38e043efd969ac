"""Everything that segments may ask about a person, from the tables of the stages that write it."""

from collections.abc import Collection
from datetime import date

import msgspec

from processors.storage.consents import Consents
from processors.storage.database import Connection, uuids
from processors.storage.events import Counters
from processors.storage.memberships import SegmentMemberships
from processors.storage.runs import Traits
from processors.storage.windows import Windows
from schemas.profiles import Visits
from workflows.consent import Statements
from workflows.definitions import Definitions
from workflows.profile import ProfileState
from workflows.segments import Memberships
from workflows.windows import Days, since


class Person(msgspec.Struct):
    """A live profile as it is now."""

    state: ProfileState
    counters: dict[str, int]
    memberships: Memberships
    statements: Statements
    days: Days
    visits: Visits | None = None


class People:
    """Reads; each table has a writer of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._traits, self._counters = Traits(connection), Counters(connection)
        self._members, self._consents = SegmentMemberships(connection), Consents(connection)
        self._windows = Windows(connection)

    async def load(self, profiles: Collection[str], definitions: Definitions, today: date) -> dict[str, Person]:
        """These live profiles, as far as the definitions ask."""
        windows = definitions.windows
        states, counters = await self._traits.load(profiles), await self._counters.load(profiles)
        members = await self._members.load(profiles)
        said = await self._consents.load(profiles) if definitions.consents else {}
        types = sorted({window.event_type for window in windows})
        days = await self._windows.load(profiles, types, since(windows, today)) if windows else {}
        visits = await self._visits(profiles) if definitions.asks_for_visits else {}
        return {
            one: Person(states[one], counters[one], members[one], said.get(one, {}), days.get(one, {}), visits.get(one))
            for one in profiles
        }

    async def _visits(self, profiles: Collection[str]) -> dict[str, Visits]:
        cursor = await self._connection.execute(
            "with theirs as (select id, coalesce(merged_into, id)::text as live from profiles "
            "where id = any(%(ids)s::uuid[]) or merged_into = any(%(ids)s::uuid[])) "
            "select live, sum(count)::bigint, min(first_at), max(last_at) from ("
            "select live, 1 as count, started_at as first_at, started_at as last_at "
            "from theirs join sessions on profile_id = theirs.id "
            "union all select live, count, first_at, last_at from theirs join past_visits on profile_id = theirs.id"
            ") v group by live",
            {"ids": uuids(profiles)},
        )
        return {id: Visits(*visits) for id, *visits in await cursor.fetchall()}
