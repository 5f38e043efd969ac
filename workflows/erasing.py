"""Payloads without the events of somebody who was erased. Pure."""

from collections.abc import Collection
from typing import Any

import msgspec


def without(body: bytes, ordinals: Collection[int]) -> bytes | None:
    """The payload without these of its events (-1: all), the places of the others kept; None where none is left.

    What the events share (session, profile, context) goes with the first: it is the erased person's too.
    """
    if -1 in ordinals:
        return None
    payload = msgspec.json.decode(body)
    events: list[Any] = payload["events"]
    kept = [None if ordinal in ordinals else event for ordinal, event in enumerate(events)]
    if not any(event is not None for event in kept):
        return None
    return msgspec.json.encode({**payload, "events": kept})


def is_rest_of(kept: bytes | None, sent: bytes | None) -> bool:
    """Whether this is what was kept of a payload: all of it, or what is left without some of its events."""
    if kept == sent:
        return True
    try:
        rest, whole = msgspec.json.decode(kept or b""), msgspec.json.decode(sent or b"")
        pairs = list(zip(rest["events"], whole["events"], strict=True))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return False
    return any(event is None for event, _ in pairs) and all(event in (None, other) for event, other in pairs)
