"""Events, recorded once, and the counters of profiles: persist's tables."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from struct import Struct
from typing import Any

import msgspec

from processors.storage.copying import JSONB, copy_rows, since_2000, uuid, varying
from processors.storage.database import Connection, as_json, uuids
from processors.storage.origins import ASKED, IS_ASKED, ORIGIN, by_payload
from schemas.events import IdentifiedEvent
from schemas.origin import Origin, derived_id

_COLUMNS = (
    *("origin_partition", "origin_offset", "origin_ordinal", "occurred_at", "received_at", "saved", "time_corrected"),
    *("hops", "revision", "source", "id", "fingerprint", "type", "profile_id", "session_id", "reused_id"),
    *("properties", "context"),
)
#: How many columns there are, and those of a fixed size, each after its size.
_fixed = Struct(">h ii iq ii iq iq i? i? ii iq").pack


class Recorded(msgspec.Struct):
    """What became of a batch: the events that are new, in order, under the ids that they are stored by."""

    new: list[IdentifiedEvent]
    duplicates: Counter[str]
    id_reused: Counter[str]


class _Judged:
    """What becomes of a batch's events, given what is stored: all but repeats of an origin come here."""

    def __init__(self) -> None:
        self.new: dict[tuple[str, str], IdentifiedEvent] = {}
        self.duplicates: list[IdentifiedEvent] = []
        #: The ids that events came with which had been used for others.
        self.reused: dict[Origin, str] = {}

    def judge(
        self, events: Iterable[IdentifiedEvent], stored: Mapping[tuple[str, str], tuple[str, Origin]]
    ) -> list[IdentifiedEvent]:
        """Those that have another id now, and are to be judged by it. `stored`: source and id to fingerprint and origin
        of what is there."""
        again = []
        for event in events:
            key = event.source, event.id
            known = stored.get(key)
            if key in self.new:
                known = self.new[key].fingerprint, self.new[key].origin
            if known is None:
                self.new[key] = event
            elif known[1] == event.origin:
                continue  # another lane has recorded it since its origin was looked for
            elif known[0] == event.fingerprint:
                self.duplicates.append(event)
            else:
                self.reused.setdefault(event.origin, event.id)
                event.id = derived_id("reused", event.source, event.id, event.fingerprint)
                again.append(event)
        return again


class Events:
    """One row an origin, for good: what makes every repeat of an event harmless."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def record(self, events: Sequence[IdentifiedEvent]) -> Recorded:
        """Store what is new. Same origin: a repeat. Same source, id and fingerprint: a duplicate. Same source and id,
        another fingerprint: another event, stored under an id derived from both.

        Raises Unavailable where another lane stores one of them at the same time.
        """
        seen: dict[Origin, IdentifiedEvent] = {}
        for event in events:
            seen.setdefault(event.origin, event)
        done = await self._known_origins(seen)
        waiting = [event for origin, event in seen.items() if origin not in done]
        judged = _Judged()
        while waiting:
            waiting = judged.judge(waiting, await self._stored(waiting))
        # Sorted: lanes that wait for each other's ids do so in one order.
        rows = (_row(event, judged.reused.get(event.origin)) for _, event in sorted(judged.new.items()))
        await copy_rows(self._connection, "events", _COLUMNS, rows)
        new = {event.origin for event in judged.new.values()}
        return Recorded(
            [event for origin, event in seen.items() if origin in new],
            Counter(await self._insert_duplicates(judged.duplicates)),
            Counter(event.source for event in judged.new.values() if event.origin in judged.reused),
        )

    async def _known_origins(self, origins: Iterable[Origin]) -> set[Origin]:
        cursor = await self._connection.execute(
            f"{ASKED} select {ORIGIN} from k join events on {IS_ASKED} "
            f"union all select {ORIGIN} from k join event_duplicates on {IS_ASKED}",
            by_payload(origins),
        )
        return {Origin(*origin) for origin in await cursor.fetchall()}

    async def _stored(self, events: Sequence[IdentifiedEvent]) -> dict[tuple[str, str], tuple[str, Origin]]:
        cursor = await self._connection.execute(
            "select e.source, e.id, encode(e.fingerprint, 'hex'), e.origin_partition, e.origin_offset, "
            "e.origin_ordinal from events e "
            "join jsonb_to_recordset(%s::jsonb) as k(source text, id text) using (source, id)",
            (as_json([{"source": event.source, "id": event.id} for event in events]),),
        )
        return {
            (source, id): (fingerprint, Origin(*origin)) for source, id, fingerprint, *origin in await cursor.fetchall()
        }

    async def _insert_duplicates(self, events: Sequence[IdentifiedEvent]) -> list[str]:
        if not events:
            return []
        rows = [
            {**_origin_row(event.origin), "source": event.source, "id": event.id, "at": event.received_at}
            for event in events
        ]
        cursor = await self._connection.execute(
            f"insert into event_duplicates ({ORIGIN}, source, id, received_at) "
            "select p, o, n, source, id, at from jsonb_to_recordset(%s::jsonb) "
            "as r(p int, o bigint, n int, source text, id text, at timestamptz) order by p, o, n "
            "on conflict do nothing returning source",
            (as_json(rows),),
        )
        return [source for (source,) in await cursor.fetchall()]

    async def count(self, partition: int, recorded: Recorded) -> None:
        """Add to the accounting of this lane."""
        new = Counter(event.source for event in recorded.new)
        rows = [
            {"source": s, "new": new[s], "dup": recorded.duplicates[s], "re": recorded.id_reused[s]}
            for s in sorted(new.keys() | recorded.duplicates.keys())
        ]
        if rows:
            await self._connection.execute(
                "insert into recorded_counts as c (source, partition, recorded, duplicates, id_reused) "
                "select source, %s, new, dup, re from jsonb_to_recordset(%s::jsonb) "
                'as r(source text, new bigint, dup bigint, "re" bigint) '
                "on conflict (source, partition) do update set recorded = c.recorded + excluded.recorded, "
                "duplicates = c.duplicates + excluded.duplicates, id_reused = c.id_reused + excluded.id_reused",
                (partition, as_json(rows)),
            )


class Counters:
    """How often each profile sent each event type, and when first and last."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, events: Iterable[IdentifiedEvent]) -> None:
        """Count these events; whoever calls holds the profiles' locks."""
        folded: dict[tuple[str, str], dict[str, Any]] = {}
        for event in events:
            if event.profile is None:
                continue
            at = event.occurred_at
            row = folded.setdefault(
                (event.profile, event.type),
                {"profile_id": event.profile, "type": event.type, "n": 0, "first": at, "last": at},
            )
            row["n"] += 1
            row["first"], row["last"] = min(row["first"], at), max(row["last"], at)
        if folded:
            await self._connection.execute(
                "insert into profile_counters as c (profile_id, type, count, first_at, last_at) "
                'select profile_id, type, n, "first", "last" from jsonb_to_recordset(%s::jsonb) '
                'as r(profile_id uuid, type text, n bigint, "first" timestamptz, "last" timestamptz) '
                "order by profile_id, type on conflict (profile_id, type) do update set "
                "count = c.count + excluded.count, first_at = least(c.first_at, excluded.first_at), "
                "last_at = greatest(c.last_at, excluded.last_at)",
                (as_json(list(folded.values())),),
            )

    async def load(self, profiles: Collection[str]) -> dict[str, dict[str, int]]:
        """Counts by profile and event type."""
        cursor = await self._connection.execute(
            "select profile_id::text, type, count from profile_counters where profile_id = any(%s::uuid[])",
            (uuids(profiles),),
        )
        found: dict[str, dict[str, int]] = {profile: {} for profile in profiles}
        for profile, type, count in await cursor.fetchall():
            found[profile][type] = count
        return found


def _row(event: IdentifiedEvent, reused_id: str | None) -> bytes:
    """In COPY's binary format."""
    origin, at, received = event.origin, since_2000(event.occurred_at), since_2000(event.received_at)
    return _fixed(
        *(len(_COLUMNS), 4, origin.partition, 8, origin.offset, 4, origin.ordinal, 8, at, 8, received),
        *(1, event.save, 1, event.time_corrected, 4, event.hops, 8, event.revision),
    ) + varying(
        event.source.encode(),
        event.id.encode(),
        bytes.fromhex(event.fingerprint),
        event.type.encode(),
        None if event.profile is None else uuid(event.profile),
        None if event.session is None else event.session.encode(),
        None if reused_id is None else reused_id.encode(),
        JSONB + bytes(event.properties) if event.save else None,
        JSONB + bytes(event.context) if event.save else None,
    )


def _origin_row(origin: Origin) -> dict[str, int]:
    return {"p": origin.partition, "o": origin.offset, "n": origin.ordinal}
