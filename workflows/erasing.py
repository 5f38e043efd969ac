"""Payloads without the events of somebody who was erased. Pure."""

from collections.abc import Collection

import msgspec


class _Payload(msgspec.Struct):
    events: list[msgspec.Raw]


_events_of = msgspec.json.Decoder(_Payload).decode
_parts_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def without(body: bytes, ordinals: Collection[int]) -> bytes | None:
    """The payload without these of its events (-1: all), the places and bytes of the others kept; None where none is
    left, or where it cannot be told apart.

    What the events share but their session (profile, context) goes too: it is the erased person's as well.
    """
    try:
        parts, events = _parts_of(body), _events_of(body).events
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    kept = [_NOTHING if ordinal in ordinals else event for ordinal, event in enumerate(events)]
    if -1 in ordinals or all(bytes(event) == bytes(_NOTHING) for event in kept):
        return None
    shared = {name: part for name, part in parts.items() if name not in ("profile", "context")}
    return msgspec.json.encode({**shared, "events": kept})


_NOTHING = msgspec.Raw(b"null")


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
