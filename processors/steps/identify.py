"""identify: whose events are these? Sessions, profiles and identifiers; a merge job where one joins two people."""

from collections.abc import Sequence
from typing import Any

import msgspec

from processors.storage.consents import Consents
from processors.storage.identities import Identities
from schemas.events import IdentifiedEvent, ValidEvent
from schemas.profiles import MergeJob
from workflows.consent import ConsentBook, Governed
from workflows.definitions import Definitions
from workflows.identification import IdentifierKey, Identifiers
from workflows.identity import ProfileIds
from workflows.resolution import Resolution, questioned, resolve


async def identify(
    events: Sequence[ValidEvent],
    partition: int,
    definitions: Definitions,
    profile_ids: ProfileIds,
    identities: Identities,
    consents: Consents,
) -> list[Any]:
    """The events with their profiles, MergeJobs, and a SegmentationJob for each profile that said something new about
    its consents. What a person has not agreed to is taken out before anybody is identified by it."""
    identifiers = Identifiers(definitions, profile_ids.hide)
    somebodys = [event for event in events if event.profile is not None]
    known = await identities.load(
        sessions={(event.source, event.session) for event in somebodys if event.session},
        identifiers={one.key for event in somebodys for one in identifiers.shown_by(event)},
        profiles={event.profile for event in somebodys if event.profile},
    )
    said = await consents.load(known.everybody()) if definitions.governs else {}
    governed = Governed(ConsentBook(said, definitions, profile_ids.hide), known, definitions.governs)
    let_in = governed.let_in(events)
    found = [(event, identifiers.shown_by(event)) for event in let_in if event.profile is not None]
    known.values = await identities.values(questioned(found, known))
    resolution = resolve(found, known, definitions, lambda *named: profile_ids.mint("identifier", *named))
    taken = await identities.store(resolution, [event for event, _ in found], known)
    owners = {event.origin: owner for (event, _), owner in zip(found, resolution.owners, strict=True)}
    owned = [(event, owners.get(event.origin)) for event in let_in]
    identified = [_identified(governed.settle(event, owner), owner) for event, owner in owned]
    governed.settle_dropped()
    await consents.store(governed.news)
    await consents.drop(partition, governed.dropped)
    return [*identified, *resolution.merges, *_lost_races(resolution, taken), *governed.jobs()]


def _identified(event: ValidEvent, owner: str | None) -> IdentifiedEvent:
    return IdentifiedEvent(**{**msgspec.structs.asdict(event), "profile": owner})


def _lost_races(resolution: Resolution, taken: dict[IdentifierKey, str]) -> list[MergeJob]:
    """Another lane linked the identifier first: both profiles are one person."""
    return [
        MergeJob(profiles=[theirs, ours], cause="identifier", namespace=key[0], event=event.id, quiet=event.quiet)
        for key, theirs in taken.items()
        if (ours := resolution.links[key].profile) != theirs
        for event in [resolution.links[key].event]
    ]
