"""The two ways out of the pipeline: an event that parsed and is wrong, and bytes that could not be processed."""

from datetime import datetime

import msgspec

from schemas.origin import Origin

#: Why the runner makes a dead letter, where the record itself can be read: no step has counted it.
RUNNER_REASONS = frozenset({"bug", "output_too_large", "refused_by_postgresql", "too_slow"})

#: In place of a content that may not be kept.
NOT_KEPT = b"{}"


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why an event was rejected. `path` is a JSON pointer into the event; `message` never repeats its values."""

    code: str
    path: str = ""
    message: str = ""


class RejectedEvent(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """An event that parsed and is wrong, with everything needed to repair and send it again."""

    origin: Origin
    id: str
    source: str
    type: str = ""
    reasons: list[Reason]
    received_at: datetime
    #: A tracker payload that holds this one event, as it was sent.
    payload: msgspec.Raw
    revision: int = 0
    #: How often it had been sent again before.
    attempt: int = 0
    #: As its payload came: emitted by how many workflows in a row, and whether destinations hear of it.
    hops: int = 0
    quiet: bool = False


class DeadLetter(msgspec.Struct, kw_only=True, gc=False):
    """Bytes that could not be processed: unchanged, with where they lay and why (these travel as headers)."""

    key: bytes | None
    value: bytes
    reason: str
    stage: str
    topic: str
    partition: int
    offset: int
    #: The event's origin where it could be read, else the record's own place in `tracks` or nothing.
    origin: Origin | None = None
    source: str = ""
    #: The class of the exception, never its text: it may quote data.
    exception: str = ""
    #: How often it had been sent again before.
    attempt: int = 0
    #: Of a payload: when it was received (in milliseconds, 0 where that is not known), emitted by how many workflows in
    #: a row, whether destinations hear of it, and whether validate has counted it as accepted.
    received_ms: int = 0
    hops: int = 0
    quiet: bool = False
    counted: bool = False
