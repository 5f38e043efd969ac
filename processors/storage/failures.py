"""Rejected events and dead letters, so that they are listed and repaired from here, never by scanning a topic."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from processors.storage.database import Connection
from schemas.failures import DeadLetter, RejectedEvent


class Failures:
    """One outcome an origin: a repeat changes nothing; failing again after a replay does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def store(self, failures: Sequence[RejectedEvent | DeadLetter]) -> None:
        """Keep them, content and all."""
        rows = [_rejected(item) if isinstance(item, RejectedEvent) else _dead_letter(item) for item in failures]
        async with self._connection.cursor() as cursor:
            await cursor.executemany(
                'insert into failures (topic, partition, "offset", ordinal, kind, stage, source, event_id, type, '
                "reasons, key, content, failed_at, attempt, read_from, received_at, hops, quiet, counted) values "
                "(%(topic)s, %(partition)s, %(offset)s, %(ordinal)s, "
                "%(kind)s, %(stage)s, %(source)s, %(event_id)s, %(type)s, %(reasons)s::jsonb, %(key)s, "
                "%(content)s, now(), %(attempt)s, %(read_from)s, %(received_at)s, %(hops)s, %(quiet)s, %(counted)s) "
                "on conflict (topic, partition, \"offset\", ordinal) do update set state = 'open', "
                "kind = excluded.kind, stage = excluded.stage, source = excluded.source, "
                "event_id = excluded.event_id, type = excluded.type, reasons = excluded.reasons, "
                "key = excluded.key, content = excluded.content, failed_at = excluded.failed_at, "
                "read_from = excluded.read_from, attempt = excluded.attempt, counted = excluded.counted "
                "where (failures.state in ('sending', 'replayed') and excluded.attempt >= failures.attempt) "
                "or (failures.state = 'open' and excluded.attempt > failures.attempt)",
                rows,
            )


def _rejected(event: RejectedEvent) -> dict[str, Any]:
    return {
        "topic": "tracks",
        "partition": event.origin.partition,
        "offset": event.origin.offset,
        "ordinal": event.origin.ordinal,
        "kind": "rejected",
        "stage": "validate",
        "source": event.source,
        "event_id": event.id,
        "type": event.type,
        "reasons": msgspec.json.encode(event.reasons).decode(),
        "key": None,
        "content": bytes(event.payload),
        "attempt": event.attempt,
        "read_from": "tracks",
        "received_at": event.received_at,
        "hops": event.hops,
        "quiet": event.quiet,
        "counted": True,
    }


def _reason(letter: DeadLetter) -> dict[str, str]:
    return {"code": letter.reason, **({"exception": letter.exception} if letter.exception else {})}


def _dead_letter(letter: DeadLetter) -> dict[str, Any]:
    origin = letter.origin
    return {
        "topic": "tracks" if origin else letter.topic,
        "partition": origin.partition if origin else letter.partition,
        "offset": origin.offset if origin else letter.offset,
        "ordinal": origin.ordinal if origin else -1,
        "kind": "dead-letter",
        "stage": letter.stage,
        "source": letter.source,
        "event_id": None,
        "type": None,
        "reasons": msgspec.json.encode([_reason(letter)]).decode(),
        "key": letter.key,
        "content": letter.value,
        "attempt": letter.attempt,
        "read_from": letter.topic,
        "received_at": datetime.fromtimestamp(letter.received_ms / 1000, UTC) if letter.received_ms else None,
        "hops": letter.hops,
        "quiet": letter.quiet,
        "counted": letter.counted,
    }
