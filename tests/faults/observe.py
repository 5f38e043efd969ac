"""Reads what is there in the end, by plain SQL, plain consumers, and the archive's files by any Avro reader."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.faults.definitions import CANARY
from tests.faults.observed import Call, Observed, Profile, Recorded, Said, Tracked, whole
from tests.kit.installation import Installation

#: Topics on the way in which a session's events must keep their order.
ON_THE_WAY = ("events-valid", "events-identified", "events-accepted", "workflow-runs")
_LIVE = "coalesce(p.merged_into, p.id)::text"


def observe(installation: Installation, calls: list[Call] | None, archive: Path | None) -> Observed:
    """All of it. Nothing may move any more."""
    observed = Observed(calls=calls)
    _read_events(installation, observed)
    _read_profiles(installation, observed)
    _read_failures(installation, observed)
    _read_tracks(installation, observed)
    _read_changes(installation, observed)
    for topic in ON_THE_WAY:
        observed.order[topic] = list(_first_occurrences(installation, topic, observed.repeated))
    if archive is not None:
        observed.archived = _read_archive(archive)
    observed.bad_lines = [line for child in installation.children.values() for line in _bad_lines(child.log)]
    return observed


def read_topic(installation: Installation, topic: str) -> Iterator[Message]:
    """Every record that the topic holds now, partition by partition in order."""
    for (_, partition), end in sorted(installation.ends([topic]).items()):
        settings = {
            "bootstrap.servers": installation.kafka,
            "group.id": f"{installation.prefix}checker",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "log_level": 0,
        }
        if end:
            consumer = Consumer(settings)
            consumer.assign([TopicPartition(installation.prefix + topic, partition, 0)])
            try:
                yield from _to_the_end(consumer, topic)
            finally:
                consumer.close()


def _to_the_end(consumer: Consumer, topic: str) -> Iterator[Message]:
    heard = time.monotonic()
    while True:
        messages = consumer.consume(5000, timeout=0.1)  # it waits for all of them, or for so long
        heard = time.monotonic() if messages else heard
        assert time.monotonic() - heard < 20, f"{topic} is not read to its end"
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                return
            else:
                raise KafkaException(error)


def _read_events(installation: Installation, observed: Observed) -> None:
    rows = installation.sql(
        f"select e.id, e.type, e.session_id, {_LIVE}, e.origin_partition, e.origin_offset, e.origin_ordinal, "
        "e.reused_id is not null, case when e.type = 'alert-noted' then e.properties->>'name' else '' end, "
        "extract(epoch from e.recorded_at)::float8 "
        "from events e left join profiles p on p.id = e.profile_id"
    )
    observed.recorded = [
        Recorded(id, type, session, profile, (partition, offset, ordinal), reused, name, at)
        for id, type, session, profile, partition, offset, ordinal, reused, name, at in rows
    ]
    runs = installation.sql("select event_id, extract(epoch from ran_at)::float8 from workflow_runs")
    observed.runs, observed.ran_at = Counter(id for id, _ in runs), dict(runs)


def _read_profiles(installation: Installation, observed: Observed) -> None:
    sql = installation.sql
    profiles = {id: Profile(id) for (id,) in sql("select id::text from profiles where merged_into is null")}
    observed.profiles = profiles
    observed.far_pointers = [
        id
        for (id,) in sql(
            "select a.id::text from profiles a left join profiles b on b.id = a.merged_into "
            "where a.merged_into is not null and (b.id is null or b.merged_into is not null)"
        )
    ]
    observed.sessions = dict(
        sql(f"select s.id, {_LIVE} from sessions s join profiles p on p.id = s.profile_id where s.source = 'shop'")
    )
    observed.identifiers = {
        (namespace, value): profile
        for namespace, value, profile in sql(
            f"select i.namespace, i.value, {_LIVE} from identifiers i join profiles p on p.id = i.profile_id"
        )
    }
    for id, type, count in sql("select profile_id::text, type, count from profile_counters"):
        if id in profiles:
            profiles[id].counters[type] = count
    for id, amount, last, watched in sql(
        "select profile_id::text, totals->>'amount', traits->'last'->>0, traits->'watched'->>0 from profile_traits"
    ):
        if id in profiles:
            profiles[id].amount, profiles[id].watched = whole(amount), watched == "yes"
            profiles[id].last = None if last is None else int(last)
    for id, segment in sql("select profile_id::text, segment from memberships"):
        if id in profiles:
            profiles[id].segments.add(segment)
    for id, version in sql("select profile_id::text, version from profile_versions"):
        if id in profiles:
            profiles[id].version = version
    observed.conflicts = int(installation.one("select count(*) from merge_conflicts"))


def _read_failures(installation: Installation, observed: Observed) -> None:
    for kind, id, reason in installation.sql(
        "select kind, event_id, reasons->0->>'code' from failures where state <> 'replayed'"
    ):
        (observed.rejected if kind == "rejected" else observed.dead_letters)[id if kind == "rejected" else reason] += 1
    observed.accounting = installation.accounting()


def _read_tracks(installation: Installation, observed: Observed) -> None:
    for message in read_topic(installation, "tracks"):
        body = message.value() or b""
        observed.tracks.append(
            Tracked(message.partition() or 0, message.offset() or 0, hashlib.sha256(body).digest(), _ids(body))
        )


def _ids(body: bytes) -> tuple[str, ...] | None:
    try:
        return tuple(event["id"] for event in json.loads(body)["events"])
    except (ValueError, KeyError, TypeError):
        return None


def _read_changes(installation: Installation, observed: Observed) -> None:
    bodies: dict[tuple[str, int], bytes] = {}
    merged = installation.sql("select id::text, merged_into::text from profiles where merged_into is not null")
    observed.merged = dict(merged)
    for message in read_topic(installation, "profile-changes"):
        value = message.value() or b""
        change: dict[str, Any] = json.loads(value, parse_float=Decimal)
        key = change["profile"], change["version"]
        if bodies.setdefault(key, hashlib.sha256(value).digest()) != hashlib.sha256(value).digest():
            observed.contradictions.append(f"{key[0]}: version {key[1]} was said with two bodies")
        known = observed.said.get(key[0])
        if known is not None and known.version > key[1]:
            observed.backwards.append(f"{key[0]}: version {key[1]} was said after {known.version}")
        elif known is None or known.version < key[1]:
            last = change.get("traits", {}).get("last")
            observed.said[key[0]] = Said(
                version=key[1],
                counters=change.get("counters", {}),
                amount=whole(change.get("totals", {}).get("amount")),
                last=None if last is None else int(last),
                segments=frozenset(change.get("segments", ())),
                merged_into=change.get("merged_into"),
            )


def _first_occurrences(
    installation: Installation, topic: str, repeated: Counter[tuple[str, int]]
) -> Iterator[tuple[int, str]]:
    seen: set[tuple[int, str]] = set()
    origins: set[tuple[int, ...]] = set()
    for message in read_topic(installation, topic):
        event = json.loads(message.value() or b"{}")
        partition = message.partition() or 0
        if event["type"] == "alert-noted":
            continue
        # What a client sent twice has two origins, what a stage wrote twice has one.
        origin = (partition, *event["origin"])
        repeated[topic, partition] += origin in origins
        origins.add(origin)
        if (partition, event["id"]) not in seen:
            seen.add((partition, event["id"]))
            yield partition, event["id"]


def _read_archive(folder: Path) -> dict[tuple[int, int], set[bytes]]:
    found: dict[tuple[int, int], set[bytes]] = {}
    for path in sorted(folder.glob("tracks/*/*.avro")):
        with path.open("rb") as file:
            row: Any
            for row in fastavro.reader(file):
                digest = hashlib.sha256(row["body"] or b"").digest()
                found.setdefault((row["partition"], row["offset"]), set()).add(digest)
    return found


def _bad_lines(log: Path) -> Iterator[str]:
    with log.open(errors="replace") as lines:
        for line in lines:
            if CANARY in line or "exception was never retrieved" in line:
                yield f"{log.name}: {line.strip()[:200]}"
