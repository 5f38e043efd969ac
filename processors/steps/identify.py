"""identify: whose events are these? Sessions, profiles and identifiers; a merge job where one joins two people."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from processors.storage.consents import Consents
from processors.storage.erasures import Erasures, Hide, key_hash, session_hash
from processors.storage.identities import Identities
from processors.storage.runs import Traits
from schemas.events import IdentifiedEvent, ValidEvent
from schemas.origin import Origin
from schemas.profiles import MergeJob, SegmentationJob
from workflows.announcing import announced
from workflows.consent import ConsentBook
from workflows.definitions import Definitions
from workflows.identification import IdentifierKey, Identifiers
from workflows.identity import ProfileIds
from workflows.known import Known
from workflows.lookup import looked_up
from workflows.resolution import Resolution
from workflows.resolving import Found, questioned, resolve


async def identify(
    events: Sequence[IdentifiedEvent],
    partition: int,
    definitions: Definitions,
    profile_ids: ProfileIds,
    identities: Identities,
    consents: Consents,
    erasures: Erasures,
    traits: Traits,
) -> list[Any]:
    """The events with their profiles, MergeJobs, a SegmentationJob for each profile that said something new about its
    consents or lost a visit to somebody else, and system events that their sources ask for.

    What a person has not agreed to is taken out before anybody is identified by it; what was dropped once stays
    dropped, and what happened before its person was erased is.
    """
    before = await consents.dropped([event.origin for event in events]) if definitions.governs else set()
    events = [event for event in events if event.origin not in before]
    identifiers = Identifiers(definitions, profile_ids.hide)
    found = [(event, identifiers.shown_by(event)) for event in events if event.profile is not None]
    known = await _load(found, identities)
    if erased := await _of_the_erased(found, known, identifiers, profile_ids.hide, erasures):
        await consents.drop(partition, [event for event in events if event.origin in erased], "erased")
        await erasures.note_places(erased)
        events = [event for event in events if event.origin not in erased]
        found = [(event, shown) for event, shown in found if event.origin not in erased]
    if asked := questioned(found, known):
        known.values, known.apart = await identities.values(asked), await identities.apart(asked)
    book = None
    if definitions.governs:
        book = ConsentBook(await consents.load(known.everybody()), definitions, profile_ids.hide)
    resolution = resolve(
        found, known, definitions, lambda *named: profile_ids.mint("identifier", *named), book, identifiers.shown_by
    )
    taken = await identities.store(resolution, known, {profile for profile, _ in book.news} if book else ())
    outcomes = iter(zip(resolution.events, resolution.owners, strict=True))
    judged = [
        next(outcomes) if event.profile is not None else (book.judge(event, ()) if book else event, None)
        for event in events
    ]
    if book is not None:
        await consents.store(book.news)
        dropped = [event for event, (allowed, _) in zip(events, judged, strict=True) if allowed is None]
        await consents.drop(partition, dropped)
    opening = {event.origin for event in resolution.first_of_sessions}
    identified = [
        _identified(event, owner, book, event.origin in opening) for event, owner in judged if event is not None
    ]
    await _look_up(identified, definitions, traits)
    owners = {event.origin: owner for event, owner in judged if event is not None and owner is not None}
    news = announced(resolution, owners, definitions)
    return [*identified, *resolution.merges, *_lost_races(resolution, taken), *_jobs(book, resolution), *news]


def _jobs(book: ConsentBook | None, resolution: Resolution) -> list[SegmentationJob]:
    losing = [
        SegmentationJob(profile=profile, changed=["segments"], silent=True, quiet=quiet)
        for profile, quiet in sorted(resolution.visited_less.items())
    ]
    return [*(book.jobs() if book else []), *losing]


async def _load(found: Found, identities: Identities) -> Known:
    return await identities.load(
        sessions={(event.source, event.session) for event, _ in found if event.session},
        identifiers={one.key for _, shown in found for one in shown},
        profiles={event.profile for event, _ in found if event.profile},
    )


async def _of_the_erased(
    found: Found, known: Known, identifiers: Identifiers, hide: Hide, erasures: Erasures
) -> set[Origin]:
    """The events that happened before somebody whose they are was erased.

    A login that was theirs says so; a login that was not, or a session that was somebody else's by then, says that it
    is another's; else the session, the profile that the client names, or whatever is shown.
    """
    if not await erasures.any():  # nearly always: hashing everything costs a tenth of this stage
        return set()
    sessions = {event.origin: session_hash(hide, event.source, event.session) for event, _ in found if event.session}
    shown = {
        event.origin: [(key_hash(hide, one.key), identifiers.is_login(one)) for one in ones] for event, ones in found
    }
    hashes = {*sessions.values(), *(key for keys in shown.values() for key, _ in keys)}
    gone = await erasures.known({event.profile or "" for event, _ in found}, hashes)
    if not gone:
        return set()

    def is_gone(event: ValidEvent, key: str | None) -> bool:
        return key is not None and key in gone and min(event.occurred_at, event.received_at) <= gone[key]

    erased = set()
    for event, _ in found:
        logins = [key for key, is_login in shown[event.origin] if is_login]
        session = sessions.get(event.origin)
        anothers = bool(logins) or _is_anothers(event, known, is_gone(event, session))
        keys = logins if anothers else [session, event.profile, *(key for key, _ in shown[event.origin])]
        if any(is_gone(event, key) for key in keys):
            erased.add(event.origin)
    return erased


def _is_anothers(event: ValidEvent, known: Known, was_theirs: bool) -> bool:
    session = (event.source, event.session or "")
    if session not in known.sessions:
        return False
    # A tab that was open all the while begins the session anew: what happened in it before is not that one's.
    return not was_theirs or (session in known.visits and known.visits[session].started <= event.occurred_at)


def _identified(event: ValidEvent, owner: str | None, book: ConsentBook | None, opens_visit: bool) -> IdentifiedEvent:
    return msgspec.structs.replace(
        cast(IdentifiedEvent, event),  # it was read as one
        profile=owner,
        session=event.session if event.save_session else None,
        keep=True,
        consents=book.given_at(event) if book and owner else {},
        opens_visit=opens_visit,
    )


async def _look_up(events: Sequence[IdentifiedEvent], definitions: Definitions, traits: Traits) -> None:
    wanted = {source.id: source.lookup for source in definitions.sources.values() if source.lookup}
    asking = [event for event in events if event.profile is not None and event.source in wanted]
    if asking:
        states = await traits.load({event.profile or "" for event in asking})
        for event in asking:
            event.traits = looked_up(states[event.profile or ""], wanted[event.source])


def _lost_races(resolution: Resolution, taken: dict[IdentifierKey, str]) -> list[MergeJob]:
    """Another lane linked the identifier first: both profiles are one person."""
    return [
        MergeJob(profiles=[theirs, ours], cause="identifier", namespace=key[0], event=event.id, quiet=event.quiet)
        for key, theirs in taken.items()
        if (ours := resolution.links[key].profile) != theirs
        for event in [resolution.links[key].event]
    ]
