"""identify: whose events are these? Sessions, profiles and identifiers; a merge job where one joins two people."""

from collections.abc import Sequence
from typing import Any

import msgspec

from processors.storage.identities import Identities
from schemas.events import IdentifiedEvent, ValidEvent
from schemas.profiles import MergeJob
from workflows.definitions import Definitions
from workflows.resolution import IdentifierKey, Resolution, identifiers_of, resolve


async def identify(events: Sequence[ValidEvent], definitions: Definitions, identities: Identities) -> list[Any]:
    """The events with their profiles, and MergeJobs."""
    found = [(event, identifiers_of(event, definitions)) for event in events]
    known = await identities.load(
        sessions={(event.source, event.session) for event in events if event.session},
        identifiers={key for _, keys in found for key in keys},
        profiles={event.profile for event in events if event.profile},
    )
    resolution = resolve(found, known)
    taken = await identities.store(resolution, events)
    identified = [
        IdentifiedEvent(**{**msgspec.structs.asdict(event), "profile": owner})
        for event, owner in zip(events, resolution.owners, strict=True)
    ]
    return [*identified, *resolution.merges, *_lost_races(resolution, taken)]


def _lost_races(resolution: Resolution, taken: dict[IdentifierKey, str]) -> list[MergeJob]:
    """Another lane linked the identifier first: both profiles are one person."""
    return [
        MergeJob(profiles=[theirs, ours], cause="identifier", namespace=key[0], event=event.id, quiet=event.quiet)
        for key, theirs in taken.items()
        if (ours := resolution.links[key][0]) != theirs
        for event in [resolution.links[key][1]]
    ]
