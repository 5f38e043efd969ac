"""Events, recorded once, and the counters of profiles: persist's tables."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from processors.storage.database import Connection, as_json
from schemas.events import IdentifiedEvent
from schemas.origin import Origin, derived_id

_ROW = (
    "r(source text, id text, fingerprint text, p int, o bigint, n int, type text, profile_id uuid, session_id text, "
    "occurred_at timestamptz, received_at timestamptz, saved boolean, time_corrected boolean, hops int, "
    "revision bigint, reused_id text, properties jsonb, context jsonb)"
)


class Recorded(msgspec.Struct):
    """What became of a batch: the events that are new, in order, under the ids that they are stored by."""

    new: list[IdentifiedEvent]
    duplicates: Counter[str]
    id_reused: Counter[str]


class Events:
    """One row an origin, for good: what makes every repeat of an event harmless."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def record(self, events: Sequence[IdentifiedEvent]) -> Recorded:
        """Store what is new. Same origin: a repeat. Same source, id and fingerprint: a duplicate. Same source and id,
        another fingerprint: another event, stored under an id derived from both."""
        seen: dict[Origin, IdentifiedEvent] = {}
        for event in events:
            seen.setdefault(event.origin, event)
        waiting = list(seen.values())
        stored: dict[Origin, str] = {}
        result = Recorded([], Counter(), Counter())
        reused: dict[Origin, str] = {}
        while waiting:
            first, rest = _one_per_id(waiting)
            inserted = await self._insert(first, reused)
            stored.update({event.origin: event.id for event in first if event.origin in inserted})
            missed = [event for event in first if event.origin not in inserted] + rest
            waiting = await self._judge(missed, reused, result)
        result.new = [event for origin, event in seen.items() if origin in stored]
        result.id_reused = Counter(event.source for event in result.new if event.origin in reused)
        return result

    async def _judge(
        self, events: Sequence[IdentifiedEvent], reused: dict[Origin, str], result: Recorded
    ) -> list[IdentifiedEvent]:
        """What to try again, under another id; duplicates are written down, repeats dropped."""
        if not events:
            return []
        done = await self._known_origins(events)
        prints = await self._fingerprints(events)
        duplicates, again = [], []
        for event in events:
            if event.origin in done:
                continue
            if prints[event.source, event.id] == event.fingerprint:
                duplicates.append(event)
            else:
                reused.setdefault(event.origin, event.id)
                event.id = derived_id("reused", event.source, event.id, event.fingerprint)
                again.append(event)
        result.duplicates.update(await self._insert_duplicates(duplicates))
        return again

    async def _insert(self, events: Iterable[IdentifiedEvent], reused: Mapping[Origin, str]) -> set[Origin]:
        cursor = await self._connection.execute(
            "insert into events (source, id, fingerprint, origin_partition, origin_offset, origin_ordinal, type, "
            "profile_id, session_id, occurred_at, received_at, saved, time_corrected, hops, revision, reused_id, "
            "properties, context) "
            "select source, id, decode(fingerprint, 'hex'), p, o, n, type, profile_id, session_id, occurred_at, "
            "received_at, saved, time_corrected, hops, revision, reused_id, properties, context "
            f"from jsonb_to_recordset(%s::jsonb) as {_ROW} order by source, id "
            "on conflict do nothing returning origin_partition, origin_offset, origin_ordinal".encode(),
            (as_json([_row(event, reused.get(event.origin)) for event in events]),),
        )
        return {Origin(*origin) for origin in await cursor.fetchall()}

    async def _known_origins(self, events: Sequence[IdentifiedEvent]) -> set[Origin]:
        cursor = await self._connection.execute(
            "with k as (select * from jsonb_to_recordset(%s::jsonb) as r(p int, o bigint, n int)) "
            "select p, o, n from k where exists (select from events where origin_partition = p "
            "and origin_offset = o and origin_ordinal = n) or exists (select from event_duplicates "
            "where origin_partition = p and origin_offset = o and origin_ordinal = n)",
            (as_json([_origin_row(event.origin) for event in events]),),
        )
        return {Origin(*origin) for origin in await cursor.fetchall()}

    async def _fingerprints(self, events: Sequence[IdentifiedEvent]) -> dict[tuple[str, str], str]:
        cursor = await self._connection.execute(
            "select e.source, e.id, encode(e.fingerprint, 'hex') from events e "
            "join jsonb_to_recordset(%s::jsonb) as k(source text, id text) using (source, id)",
            (as_json([{"source": event.source, "id": event.id} for event in events]),),
        )
        return {(source, id): fingerprint for source, id, fingerprint in await cursor.fetchall()}

    async def _insert_duplicates(self, events: Sequence[IdentifiedEvent]) -> list[str]:
        if not events:
            return []
        rows = [
            {**_origin_row(event.origin), "source": event.source, "id": event.id, "at": event.received_at}
            for event in events
        ]
        cursor = await self._connection.execute(
            "insert into event_duplicates (origin_partition, origin_offset, origin_ordinal, source, id, received_at) "
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
            (list(profiles),),
        )
        found: dict[str, dict[str, int]] = {profile: {} for profile in profiles}
        for profile, type, count in await cursor.fetchall():
            found[profile][type] = count
        return found


def _one_per_id(events: Sequence[IdentifiedEvent]) -> tuple[list[IdentifiedEvent], list[IdentifiedEvent]]:
    """The first event of each id, and the others: they are judged once the first is stored."""
    first: dict[tuple[str, str], IdentifiedEvent] = {}
    rest = []
    for event in events:
        if first.setdefault((event.source, event.id), event) is not event:
            rest.append(event)
    return list(first.values()), rest


def _row(event: IdentifiedEvent, reused_id: str | None) -> dict[str, Any]:
    return {
        **_origin_row(event.origin),
        "source": event.source,
        "id": event.id,
        "fingerprint": event.fingerprint,
        "type": event.type,
        "profile_id": event.profile,
        "session_id": event.session,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "saved": event.save,
        "time_corrected": event.time_corrected,
        "hops": event.hops,
        "revision": event.revision,
        "reused_id": reused_id,
        "properties": event.properties if event.save else None,
        "context": event.context if event.save else None,
    }


def _origin_row(origin: Origin) -> dict[str, int]:
    return {"p": origin.partition, "o": origin.offset, "n": origin.ordinal}
