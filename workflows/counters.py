"""A profile's counters as they travel with events and changes."""

from collections.abc import Collection, Mapping

from schemas.limits import MAX_COUNTERS


def carried(counters: Mapping[str, int], own: Collection[str] = ()) -> dict[str, int]:
    """All of them (event type to number); of very many those of `own` event types, and those with the most events."""
    if len(counters) <= MAX_COUNTERS:
        return dict(counters)
    first = sorted(counters.items(), key=lambda one: (one[0] not in own, -one[1], one[0]))
    return dict(first[: max(MAX_COUNTERS, len(own))])
