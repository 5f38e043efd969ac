"""identify: whose events are these? Sessions, profiles and identifiers; a merge job where one joins two people."""

from collections.abc import Sequence
from typing import Any

import msgspec

from processors.storage.identities import Identities
from schemas.events import IdentifiedEvent, ValidEvent
from schemas.profiles import MergeJob
from workflows.definitions import Definitions
from workflows.identification import IdentifierKey, Identifiers
from workflows.identity import ProfileIds
from workflows.resolution import Resolution, questioned, resolve


async def identify(
    events: Sequence[ValidEvent], definitions: Definitions, profile_ids: ProfileIds, identities: Identities
) -> list[Any]:
    """The events with their profiles, and MergeJobs."""
    identifiers = Identifiers(definitions, profile_ids.hide)
    found = [(event, identifiers.shown_by(event)) for event in events]
    known = await identities.load(
        sessions={(event.source, event.session) for event in events if event.session},
        identifiers={one.key for _, shown in found for one in shown},
        profiles={event.profile for event in events if event.profile},
    )
    known.values = await identities.values(questioned(found, known))
    resolution = resolve(found, known, definitions, lambda *named: profile_ids.mint("identifier", *named))
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
        if (ours := resolution.links[key].profile) != theirs
        for event in [resolution.links[key].event]
    ]
