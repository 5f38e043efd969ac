"""What becomes of a record that can never succeed: a dead letter, which says why and whose it was."""

from collections.abc import Callable
from typing import Any

from processors.runner.failures import Poison
from schemas.codecs import Message, attempt_of
from schemas.events import Record, TrackedPayload
from schemas.failures import NOT_KEPT, DeadLetter
from schemas.origin import Origin
from schemas.replays import Replay
from schemas.topics import DEAD_LETTERS, topic_of

#: What the signed header of a payload says that is sent again; None for any other.
ReplayOf = Callable[[TrackedPayload], Replay | None]


def dead_letter(record: Record, model: Any, poison: Poison, stage: str, replay_of: ReplayOf) -> Message:
    """The dead letter for a record that failed in this stage; `model` is what was read of it, None where nothing."""
    kept = getattr(model, "save", True) and getattr(model, "keep", True)
    letter = DeadLetter(
        key=record.key if kept else None,
        value=(record.value or b"") if kept else NOT_KEPT,
        reason=poison.reason,
        stage=stage,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        exception=poison.exception,
        attempt=attempt_of(record),
    )
    if isinstance(model, TrackedPayload):
        _describe_payload(letter, model, replay_of(model))
    elif record.topic != DEAD_LETTERS.name:  # what a forged dead letter says of itself must not be repeated
        letter.origin, letter.source = getattr(model, "origin", None), getattr(model, "source", "")
        letter.attempt = max(letter.attempt, getattr(model, "attempt", 0))
    return topic_of(letter).encode(letter)


def _describe_payload(letter: DeadLetter, payload: TrackedPayload, replay: Replay | None) -> None:
    """Whose origin it has, and whether it was counted: no step has come so far as to count it now."""
    letter.origin = Origin(payload.partition, payload.offset, -1)
    letter.received_ms, letter.hops, letter.quiet = (
        int(payload.received_at.timestamp() * 1000),
        payload.hops,
        payload.quiet,
    )
    if replay is not None:
        letter.origin, letter.attempt, letter.received_ms = replay.origin, replay.attempt, replay.received_ms
        letter.source, letter.counted = replay.counted or "", replay.counted is not None
        letter.quiet = letter.quiet or replay.quiet
