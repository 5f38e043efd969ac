"""persist: events, recorded once and counted once, and the counters of their profiles."""

from collections.abc import Sequence
from typing import cast

import msgspec

from processors.storage.erasures import Erasures
from processors.storage.events import Counters, Events
from processors.storage.measures import Measures
from processors.storage.profiles import Profiles
from processors.storage.windows import Windows
from schemas.events import EMPTY_OBJECT, AcceptedEvent, IdentifiedEvent
from workflows.counters import carried
from workflows.definitions import Definitions
from workflows.measuring import measured


async def persist(
    events: Sequence[AcceptedEvent],
    partition: int,
    profiles: Profiles,
    recorded: Events,
    counters: Counters,
    windows: Windows,
    erasures: Erasures,
    measures: Measures,
    definitions: Definitions,
) -> list[AcceptedEvent]:
    """The events that are new, with their profile's counters as of each. What happened before its person was erased is
    recorded as a place that is taken, empty, and goes no further."""
    live = await profiles.lock_live({event.profile for event in events if event.profile})
    erased = await erasures.known(live)
    gone = erased.keys() - await profiles.there(erased) if erased else set()
    empty = {
        event.origin
        for event in events
        if (profile := event.profile or "") in gone
        or (profile in erased and min(event.occurred_at, event.received_at) <= erased[profile])
    }
    if empty:
        await erasures.note_places(empty)
    # Copies: a try that is rolled back must leave nothing in what the next one sees.
    mine = [
        _emptied(event)
        if event.origin in empty
        else msgspec.structs.replace(event, profile=event.profile and live[event.profile])
        for event in events
    ]
    outcome = await recorded.record(mine)
    await recorded.count(partition, outcome)
    await counters.add(outcome.new)
    await windows.add(outcome.new)
    if sums := measured(outcome.new, list(definitions.metrics.values())):
        await measures.add(partition, sums)
    totals = await counters.load({event.profile for event in outcome.new if event.profile})
    travelling = _carried(totals, outcome.new)
    going_on = [event for event in outcome.new if event.origin not in empty]
    return list(reversed([_accepted(event, travelling) for event in reversed(going_on)]))


def _carried(totals: dict[str, dict[str, int]], events: Sequence[IdentifiedEvent]) -> dict[str, dict[str, int]]:
    """Profile to the counters that travel with its events."""
    own: dict[str, set[str]] = {}
    for event in events:
        own.setdefault(event.profile or "", set()).add(event.type)
    return {profile: carried(counts, own[profile]) for profile, counts in totals.items()}


def _emptied(event: AcceptedEvent) -> AcceptedEvent:
    return msgspec.structs.replace(
        event,
        profile=None,
        session=None,
        properties=EMPTY_OBJECT,
        context=EMPTY_OBJECT,
        save=False,
        traits={},
        consents={},
    )


def _accepted(event: IdentifiedEvent, totals: dict[str, dict[str, int]]) -> AcceptedEvent:
    """Called from the last event to the first: each sees the counters without those after it."""
    counters = totals.get(event.profile or "", {})
    accepted = msgspec.structs.replace(cast(AcceptedEvent, event), counters=dict(counters))  # it was read as one
    if event.type in counters:
        counters[event.type] -= 1
        if counters[event.type] == 0:
            del counters[event.type]
    return accepted
