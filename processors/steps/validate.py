"""validate: source, payload shape, event names, JSON Schema. Good events go on, bad ones out, with reasons.

Payloads that the door took have passed the same checks there; what producers write straight to `tracks` has not.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from processors.storage.counts import SourceCounts
from processors.storage.replayed import Replayed
from schemas.events import TrackedPayload, ValidEvent
from schemas.failures import DeadLetter, RejectedEvent
from schemas.origin import Origin
from schemas.payload import TrackerPayload, read_payload
from schemas.reading import PayloadError
from schemas.replays import Replay
from workflows.definitions import Definitions
from workflows.enriching import Locate
from workflows.identity import ProfileIds
from workflows.judgement import ERASED, Judgement
from workflows.replays import Replays


async def validate(
    payloads: Sequence[TrackedPayload],
    partition: int,
    definitions: Definitions,
    profile_ids: ProfileIds,
    replays: Replays,
    replayed: Replayed,
    counts: SourceCounts,
    locate: Locate,
) -> Iterator[ValidEvent | RejectedEvent | DeadLetter]:
    """One ValidEvent or RejectedEvent for each event; a DeadLetter for a payload that cannot be read as a whole."""
    due: list[tuple[TrackedPayload, Replay | None, TrackerPayload | DeadLetter]] = []
    accepted: Counter[str] = Counter()
    for tracked, replay in await _due(payloads, replays, replayed):
        try:
            payload = read_payload(_body(tracked))
        except PayloadError as error:
            _count(accepted, replay, "", 1)
            due.append((tracked, replay, _dead_letter(tracked, replay, error.code)))
            continue
        _count(accepted, replay, payload.source or "", len(payload.events) - _erased(payload, replay))
        due.append((tracked, replay, payload))
    await counts.accept(partition, {source: number for source, number in accepted.items() if number})

    def judged() -> Iterator[ValidEvent | RejectedEvent | DeadLetter]:
        for tracked, replay, payload in due:
            if isinstance(payload, DeadLetter):
                yield payload
            else:
                yield from Judgement(tracked, replay, payload, definitions, profile_ids, locate).events()

    return judged()


def _erased(payload: TrackerPayload, replay: Replay | None) -> int:
    """How many events an archived payload has no more, because their person was erased."""
    is_archived = replay is not None and replay.kind == "archive"
    return sum(bytes(raw) == ERASED for raw in payload.events) if is_archived else 0


async def _due(
    payloads: Sequence[TrackedPayload], replays: Replays, replayed: Replayed
) -> list[tuple[TrackedPayload, Replay | None]]:
    """What is to be processed, where it lay at first: of what comes from the archive only what has no outcome yet, of
    what had failed each attempt once."""
    if not any(tracked.replay for tracked in payloads):
        return [(tracked, None) for tracked in payloads]
    read = [(tracked, replays.read(tracked.replay, tracked.body)) for tracked in payloads]
    archived = {replay.origin for _, replay in read if replay and replay.kind == "archive"}
    claimed = await replayed.claim(archived) if archived else set()
    failed = {(replay.origin, replay.attempt) for _, replay in read if replay and replay.kind == "failure"}
    taken = await replayed.take(failed) if failed else set()
    if failed:
        await replayed.note(
            {(replay.origin, p.partition, p.offset) for p, replay in read if replay and replay.kind == "failure"}
        )
    due: list[tuple[TrackedPayload, Replay | None]] = []
    for tracked, replay in read:
        if replay is None:
            due.append((tracked, replay))
        elif replay.kind == "archive" and replay.origin in claimed:
            claimed.discard(replay.origin)
            due.append((_as_it_was(tracked, replay), replay))
        elif replay.kind == "failure" and (replay.origin, replay.attempt) in taken:
            taken.discard((replay.origin, replay.attempt))
            due.append((_as_it_was(tracked, replay), replay))
    return due


def _as_it_was(tracked: TrackedPayload, replay: Replay) -> TrackedPayload:
    return msgspec.structs.replace(
        tracked,
        partition=replay.origin.partition,
        offset=replay.origin.offset,
        received_at=datetime.fromtimestamp(replay.received_ms / 1000, UTC),
        quiet=tracked.quiet or replay.quiet,
    )


def _count(accepted: Counter[str], replay: Replay | None, source: str, events: int) -> None:
    """Add to the count of accepted events: each counts once, for the source that it is in now."""
    if replay is not None and replay.counted is not None:
        if replay.origin.ordinal < 0 and replay.kind == "archive":
            return
        accepted[replay.counted] -= 1
    accepted[source] += events


def _body(tracked: TrackedPayload) -> bytes:
    if not tracked.body:
        raise PayloadError("null_value" if tracked.body is None else "empty_value")
    return tracked.body


def _dead_letter(tracked: TrackedPayload, replay: Replay | None, reason: str) -> DeadLetter:
    return DeadLetter(
        key=tracked.key,
        value=tracked.body or b"",
        reason=reason,
        stage="validate",
        topic="tracks",
        partition=tracked.partition,
        offset=tracked.offset,
        origin=replay.origin if replay else Origin(tracked.partition, tracked.offset, -1),
        attempt=replay.attempt if replay else 0,
        received_ms=int(tracked.received_at.timestamp() * 1000),
        hops=tracked.hops,
        quiet=tracked.quiet,
        counted=True,
    )
