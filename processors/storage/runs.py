"""Workflow runs, one an origin, and the traits and totals that they keep: run-workflows' tables."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from struct import Struct

import msgspec

from processors.storage.copying import JSONB, copy_rows, varying
from processors.storage.database import Connection, uuids
from processors.storage.origins import ASKED, IS_ASKED, ORIGIN, by_payload
from schemas.origin import Origin
from workflows.profile import ProfileState, Trait
from workflows.running import Done

_traits = msgspec.json.Decoder(dict[str, Trait]).decode
_totals = msgspec.json.Decoder(dict[str, Decimal]).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode
_as_json = msgspec.json.Encoder().encode


_COLUMNS = ("origin_partition", "origin_offset", "origin_ordinal", "place", "source", "event_id", "outcome", "changes")
#: How many columns there are, and those of a fixed size, each after its size.
_fixed = Struct(">h ii iq ii ii").pack


class Runs:
    """Which events had their workflows run."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def due(self, origins: Collection[Origin]) -> dict[Origin, str | None]:
        """Those of the origins whose events are recorded and whose workflows have not run, each with the profile that
        it is recorded under now: another than at first where a merge was undone.

        One that is not recorded was put out by persist before the database went back. persist has it before it again,
        and what it makes of it now may be another: the duplicate of what was its duplicate then.
        """
        cursor = await self._connection.execute(
            f"{ASKED} select {ORIGIN}, profile_id::text, false from k join events on {IS_ASKED} "
            f"union all select {ORIGIN}, null, true from k join workflow_runs on {IS_ASKED}",
            by_payload(origins),
        )
        recorded, ran = dict[Origin, str | None](), set[Origin]()
        for *place, profile, has_run in await cursor.fetchall():
            if has_run:
                ran.add(Origin(*place))
            else:
                recorded[Origin(*place)] = profile
        return {origin: recorded[origin] for origin in origins if origin in recorded and origin not in ran}

    def row(self, done: Done) -> bytes:
        """What is to be stored of an event's runs, in COPY's binary format."""
        event, origin = done.event, done.event.origin
        return _fixed(len(_COLUMNS), 4, origin.partition, 8, origin.offset, 4, origin.ordinal, 4, done.place) + varying(
            event.source.encode(), event.id.encode(), JSONB + _as_json(done.outcome), JSONB + _as_json(done.changes)
        )

    async def store(self, rows: Mapping[Origin, bytes]) -> None:
        """Write runs down. Raises Unavailable where another lane ran one meanwhile: starting again sees it done."""
        await copy_rows(self._connection, "workflow_runs", _COLUMNS, (row for _, row in sorted(rows.items())))


class Traits:
    """Traits and totals of profiles."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, profiles: Collection[str]) -> dict[str, ProfileState]:
        """The state of each of these profiles; empty where nothing is stored."""
        cursor = await self._connection.execute(
            "select profile_id::text, traits::text, totals::text from profile_traits "
            "where profile_id = any(%s::uuid[])",
            (uuids(profiles),),
        )
        found = {profile: ProfileState({}, {}) for profile in profiles}
        for profile, traits, totals in await cursor.fetchall():
            found[profile] = ProfileState(_traits(traits), _totals(totals))
        return found

    async def lock(self, profiles: Collection[str]) -> dict[str, ProfileState]:
        """As load; what they are now stays so until the transaction ends, for who has none yet too."""
        await self._connection.execute(
            "insert into profile_traits (profile_id, traits, totals) "
            "select id, '{}', '{}' from unnest(%s::uuid[]) id order by id "
            # Locks every row that is there, in order, and writes none.
            "on conflict (profile_id) do update set traits = excluded.traits where false",
            (uuids(profiles),),
        )
        return await self.load(profiles)

    async def store(self, states: Mapping[str, ProfileState]) -> None:
        """Write these states, one row a profile; whoever calls holds their locks, or merge's on the profiles."""
        rows = _encode(
            [
                {"profile_id": profile, "traits": state.traits, "totals": state.totals}
                for profile, state in states.items()
            ]
        ).decode()
        await self._connection.execute(
            "insert into profile_traits (profile_id, traits, totals) "
            "select profile_id, traits, totals from jsonb_to_recordset(%s::jsonb) "
            "as r(profile_id uuid, traits jsonb, totals jsonb) order by profile_id "
            "on conflict (profile_id) do update set traits = excluded.traits, totals = excluded.totals",
            (rows,),
        )
