"""Where an event came from, and the ids that follow from it. No clock and no random: a replay makes the same ids."""

from uuid import UUID, uuid5

import msgspec

#: Names of everything Headwater derives live below this one.
NAMESPACE = UUID("6b1d0a52-1f0f-5c7e-9d6f-2f6c0f8f3a11")


class Origin(msgspec.Struct, frozen=True, array_like=True, order=True, cache_hash=True, gc=False):
    """One event's place in `tracks`: its payload's partition and offset there, and its ordinal inside the payload.

    It stays with the event to the end and through replay. Ordinal -1 stands for the payload as a whole.
    """

    partition: int
    offset: int
    ordinal: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}/{self.ordinal}"


def derived_id(*parts: object) -> str:
    """The id that follows from these parts, always the same: a UUIDv5, as text."""
    return str(uuid5(NAMESPACE, "\x1f".join(map(str, parts))))


def event_id_of(origin: Origin) -> str:
    """The id of an event that its sender gave none: derived from where it landed, so it cannot be deduplicated."""
    return derived_id("event", origin)
