"""identify: whose events are these? Sessions, profiles and identifiers; a merge job where one joins two people."""

from collections.abc import Sequence
from typing import Any

import msgspec

from processors.storage.consents import Consents
from processors.storage.identities import Identities
from schemas.events import IdentifiedEvent, ValidEvent
from schemas.profiles import MergeJob
from workflows.consent import ConsentBook
from workflows.definitions import Definitions
from workflows.identification import IdentifierKey, Identifiers
from workflows.identity import ProfileIds
from workflows.known import Known
from workflows.resolution import Found, Resolution, questioned, resolve


async def identify(
    events: Sequence[ValidEvent],
    partition: int,
    definitions: Definitions,
    profile_ids: ProfileIds,
    identities: Identities,
    consents: Consents,
) -> list[Any]:
    """The events with their profiles, MergeJobs, and a SegmentationJob for each profile that said something new about
    its consents. What a person has not agreed to is taken out before anybody is identified by it; what was dropped
    once stays dropped."""
    before = await consents.dropped([event.origin for event in events]) if definitions.governs else set()
    events = [event for event in events if event.origin not in before]
    identifiers = Identifiers(definitions, profile_ids.hide)
    found = [(event, identifiers.shown_by(event)) for event in events if event.profile is not None]
    known = await _load(found, identities)
    book = None
    if definitions.governs:
        book = ConsentBook(await consents.load(known.everybody()), definitions, profile_ids.hide)
    resolution = resolve(
        found, known, definitions, lambda *named: profile_ids.mint("identifier", *named), book, identifiers.shown_by
    )
    taken = await identities.store(resolution, known)
    outcomes = iter(zip(resolution.events, resolution.owners, strict=True))
    judged = [
        next(outcomes) if event.profile is not None else (book.judge(event, ()) if book else event, None)
        for event in events
    ]
    if book is not None:
        await consents.store(book.news)
        dropped = [event for event, (allowed, _) in zip(events, judged, strict=True) if allowed is None]
        await consents.drop(partition, dropped)
    identified = [_identified(event, owner) for event, owner in judged if event is not None]
    jobs = book.jobs() if book else []
    return [*identified, *resolution.merges, *_lost_races(resolution, taken), *jobs]


async def _load(found: Found, identities: Identities) -> Known:
    known = await identities.load(
        sessions={(event.source, event.session) for event, _ in found if event.session},
        identifiers={one.key for _, shown in found for one in shown},
        profiles={event.profile for event, _ in found if event.profile},
    )
    if asked := questioned(found, known):
        known.values, known.apart = await identities.values(asked), await identities.apart(asked)
    return known


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
