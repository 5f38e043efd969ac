"""Compares what is there with what must be. Pure: an invariant a function, each says what violates it."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator

from tests.faults.observed import Observed, Profile
from tests.faults.oracle import Expected, Person

#: Event types that rules choose workflows for; nothing is written down about a run of the others.
WITH_WORKFLOWS = {"purchase", "login", "alert"}
#: How many words about one invariant are kept; all are counted.
WORDS = 5


class Violations:
    """Per invariant how many there are, and the first few in words; and how many of each kind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.words: dict[str, list[str]] = {}
        self.kinds: dict[str, int] = {}

    def add(self, invariant: str, kind: str, what: str) -> None:
        self.counts[invariant] = self.counts.get(invariant, 0) + 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        words = self.words.setdefault(invariant, [])
        if len(words) < WORDS:
            words.append(what)


def check(expected: Expected, observed: Observed, without: Collection[str] = ()) -> Violations:
    """All that can be said of one run that is through, `without` some invariants."""
    found = Violations()
    for invariant, kind, one in CHECKS:
        if invariant not in without:
            for what in one(expected, observed):
                found.add(invariant, kind, what)
    return found


def no_loss(expected: Expected, observed: Observed) -> Iterator[str]:
    there = {event.id for event in observed.recorded}
    yield from (f"acknowledged and not recorded: {id}" for id in sorted(expected.acknowledged - there))
    missing = sorted(expected.refused_acknowledged - set(observed.rejected))
    yield from (f"acknowledged, refused, and not on file: {id}" for id in missing)
    told = {event.name for event in observed.recorded if event.type == "alert-noted"}
    yield from (f"no event was emitted for {id}" for id in sorted(expected.alerts - told))


def no_phantom(expected: Expected, observed: Observed) -> Iterator[str]:
    for event in observed.recorded:
        if event.type == "alert-noted":
            if event.name not in expected.alerts:
                yield f"emitted for nothing: {event.id}"
        elif event.id not in expected.possible:
            yield f"recorded and never sent: {event.id}"
    yield from (f"rejected though right: {id}" for id in observed.rejected if id not in expected.refused)


def no_duplicate(expected: Expected, observed: Observed) -> Iterator[str]:
    ids, emitted = set[str](), set[str]()
    for event in observed.recorded:
        if event.reused:
            yield f"taken for another event with the same id: {event.id}"
        if event.id in ids or (event.name and event.name in emitted):
            yield f"recorded twice: {event.id} {event.name}"
        ids.add(event.id)
        emitted.add(event.name)


def exact_sums(expected: Expected, observed: Observed) -> Iterator[str]:
    for person in expected.persons:
        profile = _profile_of(person, observed)
        if profile is None:
            continue  # the merges are wrong, and said so by their own check
        if profile.counters != dict(person.counters):
            yield f"{profile.id}: counters {profile.counters}, not {dict(person.counters)}"
        if profile.amount != person.amount:
            yield f"{profile.id}: amount {profile.amount}, not {person.amount}"
        if profile.last != (person.last[2] if person.last else None):
            yield f"{profile.id}: last {profile.last}, not {person.last}"
        if profile.watched != person.watched:
            yield f"{profile.id}: watched {profile.watched}, not {person.watched}"


def in_order(expected: Expected, observed: Observed) -> Iterator[str]:
    """A session's events keep their order: by the places that they were recorded from, and in every topic on the way.

    A login that makes the session another profile's sends it over other partitions from there on, and what was on its
    way may come later: so only events that went through the same partitions are compared. Those that were sent twice,
    or repeated on the way when the session was another profile's already, are left out: either place may have been
    first.
    """
    landed = observed.landed()
    rows = sorted((event.session, event.origin, event.id) for event in observed.recorded)
    yield from _inversions("events", [(id, ()) for _, _, id in rows if landed[id] == 1])
    ways: defaultdict[str, tuple[int, ...]] = defaultdict(tuple)
    unclear = {id for id, count in landed.items() if count > 1}
    for topic, places in observed.order.items():
        for partition, id in places:
            ways[id] += (partition,)
        unclear |= {id for id, count in Counter(id for _, id in places).items() if count > 1}
        yield from _inversions(topic, [(id, ways[id]) for _, id in places if id not in unclear])
    # And took effect in it: PostgreSQL's clock at persist and at run-workflows.
    recorded = sorted((event.at, event.origin, event.id) for event in observed.recorded)
    yield from _inversions("recorded", [(id, ways[id]) for _, _, id in recorded if id not in unclear])
    ran = [(observed.ran_at[id], origin, id) for _, origin, id in recorded if id in observed.ran_at]
    yield from _inversions("ran", [(id, ways[id]) for _, _, id in sorted(ran) if id not in unclear])


def one_profile_a_person(expected: Expected, observed: Observed) -> Iterator[str]:
    owners: dict[str, int] = {}
    for number, person in enumerate(expected.persons):
        keys = [observed.sessions.get(session, "nobody") for session in sorted(person.sessions)]
        keys += [observed.identifiers.get(identifier, "nobody") for identifier in sorted(person.identifiers)]
        if len(set(keys)) != 1 or "nobody" in keys:
            yield f"{sorted(person.sessions)} is {len(set(keys))} profiles: {sorted(set(keys))}"
        for key in set(keys):
            if owners.setdefault(key, number) != number:
                yield f"{key} is two persons"
    yield from (f"{profile} points to one that is not live" for profile in observed.far_pointers)
    for event in observed.recorded:
        if observed.sessions.get(event.session) != event.profile:
            yield f"event {event.id} is not on its session's profile"
    for id, profile in observed.profiles.items():
        if id not in owners and (profile.counters or profile.amount or profile.segments):
            yield f"{id} is nobody's, and has {profile}"
    if observed.conflicts:
        yield f"{observed.conflicts} merge conflicts"


def segments_as_recomputed(expected: Expected, observed: Observed) -> Iterator[str]:
    for person in expected.persons:
        profile = _profile_of(person, observed)
        if profile is not None and profile.segments != person.segments:
            yield f"{profile.id}: in {sorted(profile.segments)}, not {sorted(person.segments)}"


def last_word(expected: Expected, observed: Observed) -> Iterator[str]:
    """The last word about a profile is what PostgreSQL has; a merged one's names its survivor."""
    yield from observed.contradictions
    for id, profile in observed.profiles.items():
        said = observed.said.get(id)
        if said is None:
            yield f"nothing was said about {id}"
        elif (said.version, said.merged_into) != (profile.version, None):
            yield f"{id}: version {said.version} was said last (merged {said.merged_into}), not {profile.version}"
        elif (said.counters, said.amount, said.last, set(said.segments)) != (
            profile.counters,
            profile.amount,
            profile.last,
            profile.segments,
        ):
            yield f"{id}: was said to be {said}, is {profile}"
    for id, survivor in observed.merged.items():
        if (said := observed.said.get(id)) is not None and said.merged_into != survivor:
            yield f"{id}: was said last to be part of {said.merged_into}, is part of {survivor}"


def never_older(expected: Expected, observed: Observed) -> Iterator[str]:
    """No reader of the outbound topic, nor the webhook, sees a profile become older."""
    yield from observed.backwards
    yield from (what for late, what in _at_the_webhook(observed) if late)


def all_delivered(expected: Expected, observed: Observed) -> Iterator[str]:
    """The webhook heard the last word."""
    yield from (what for late, what in _at_the_webhook(observed) if not late)


def effects_happened(expected: Expected, observed: Observed) -> Iterator[str]:
    """Every event ran its workflows, and every call that a workflow asked for was made."""
    for event in observed.recorded:
        if event.type in WITH_WORKFLOWS and not observed.runs[event.id]:
            yield f"workflows never ran for {event.id}"
    if observed.calls is not None:
        taken = {call.name for call in observed.calls if call.taken}
        yield from (f"{name} was never told" for name in sorted(expected.alerts - taken))


def effects_once(expected: Expected, observed: Observed) -> Iterator[str]:
    """No event ran its workflows twice; every call that one asked for has one key, and every key one body."""
    yield from (f"workflows ran {count} times for {id}" for id, count in observed.runs.items() if count > 1)
    bodies: dict[str, set[str]] = defaultdict(set)
    keys: dict[str, set[str]] = defaultdict(set)
    for call in observed.calls or ():
        bodies[call.key].add(call.body)
        if call.name:
            keys[call.name].add(call.key)
    yield from (f"key {key} came with {len(found)} bodies" for key, found in bodies.items() if len(found) > 1)
    yield from (f"{name} was told under {len(found)} keys" for name, found in keys.items() if len(found) > 1)
    yield from (f"{name} was told and never asked for" for name in sorted(set(keys) - expected.alerts))


def accounted(expected: Expected, observed: Observed) -> Iterator[str]:
    """What lies in `tracks` is what was recorded, rejected, counted as a duplicate or given up; per source."""
    landed = observed.landed()
    refused = sum(count for id, count in landed.items() if id in expected.refused)
    valid = {id: count for id, count in landed.items() if id not in expected.refused}
    unreadable = sum(record.ids is None for record in observed.tracks)
    must = {
        "accepted": refused + sum(valid.values()),
        "recorded": len(valid),
        "duplicates": sum(valid.values()) - len(valid),
        "rejected": refused,
        "dead_letters": 0,
    }
    found = observed.accounting.get("shop", {})
    if found != must:
        yield f"shop: {found}, not {must}"
    others = sum(numbers["dead_letters"] for source, numbers in observed.accounting.items() if source != "shop")
    if others != unreadable:
        yield f"{others} dead letters of no source, {unreadable} unreadable records"


def archived(expected: Expected, observed: Observed) -> Iterator[str]:
    """The archive has every record of `tracks`, byte for byte, and nothing else."""
    if observed.archived is None:
        return
    there = {(record.partition, record.offset): record.digest for record in observed.tracks}
    for place, digest in there.items():
        if observed.archived.get(place) != {digest}:
            yield f"{place}: archived {len(observed.archived.get(place, ()))} different times, or other bytes"
    yield from (f"{place} is archived and not in tracks" for place in observed.archived.keys() - there.keys())


def clean_logs(expected: Expected, observed: Observed) -> Iterator[str]:
    yield from observed.bad_lines


#: Invariant, what went wrong where it does not hold, and the check.
CHECKS = (
    ("I1", "lost", no_loss),
    ("I2", "other", no_phantom),
    ("I3", "duplicated", no_duplicate),
    ("I4", "other", exact_sums),
    ("I5", "out_of_order", in_order),
    ("I6", "other", one_profile_a_person),
    ("I7", "other", segments_as_recomputed),
    ("I8", "other", last_word),
    ("I8", "out_of_order", never_older),
    ("I8", "lost", all_delivered),
    ("I9", "lost", effects_happened),
    ("I9", "duplicated", effects_once),
    ("I10", "other", accounted),
    ("I11", "lost", archived),
    ("I17", "other", clean_logs),
)


def _profile_of(person: Person, observed: Observed) -> Profile | None:
    """The live profile of all of a person's sessions, None where they are not on one."""
    ids = {observed.sessions.get(session, "") for session in person.sessions}
    return observed.profiles.get(ids.pop()) if len(ids) == 1 else None


def _inversions(where: str, events: list[tuple[str, tuple[int, ...]]]) -> Iterator[str]:
    """Ids in the order in which they are there, with the way that each took."""
    last: dict[tuple[str, tuple[int, ...]], int] = {}
    for id, way in events:
        session, _, seq = id.rpartition(".")
        if session:  # what workflows emit has other ids
            if int(seq) < last.get((session, way), 0):
                yield f"{where}: {id} came after {last[session, way]}"
            last[session, way] = max(int(seq), last.get((session, way), 0))


def _at_the_webhook(observed: Observed) -> Iterator[tuple[bool, str]]:
    """Versions that were delivered never fall, once repeats are dropped, and end with the version that is. Whether what
    is wrong is the order, and what it is."""
    seen: set[str] = set()
    last: dict[str, int] = {}
    content: dict[str, tuple[int, int]] = {}
    for call in observed.calls or ():
        if call.name or not call.taken or call.key in seen:
            continue
        seen.add(call.key)
        if call.version < last.get(call.profile, 0):
            yield True, f"{call.profile}: version {call.version} was delivered after {last[call.profile]}"
        last[call.profile] = max(call.version, last.get(call.profile, 0))
        if last[call.profile] == call.version:
            content[call.profile] = call.purchases, call.amount
    for id, profile in observed.profiles.items():
        if not profile.watched or observed.calls is None:
            continue
        if last.get(id) != profile.version:
            yield False, f"{id}: version {last.get(id)} was delivered last, not {profile.version}"
        elif content[id] != (profile.counters.get("purchase", 0), profile.amount):
            yield False, f"{id}: delivered {content[id]}, is {profile}"
