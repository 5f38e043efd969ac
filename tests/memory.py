"""Stand-ins for the storage objects: the same methods over plain tables in memory, written as plainly as possible.

All rows are immutable, and what PostgreSQL would hold as JSON is held as bytes: so nothing is shared by accident, and a
transaction is a copy of the tables.
"""

import contextlib
import copy
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from processors.storage.events import Recorded
from processors.storage.memberships import Said
from processors.storage.parked import TOLD_AGAIN, told
from processors.storage.people import Person
from schemas.definitions.identity import Strategy
from schemas.events import IdentifiedEvent, Resumption, TrackedPayload, ValidEvent, WorkflowRun
from schemas.failures import DeadLetter, RejectedEvent
from schemas.origin import Origin, derived_id
from schemas.profiles import MergeJob, ProfileChange, Visits
from workflows.commands import SaidBy
from workflows.consent import Statement, Statements
from workflows.definitions import Definitions
from workflows.graph import Graph
from workflows.known import Birth, Known, Sighting, Stored, Visit
from workflows.measuring import Sums, WindowKey
from workflows.merging import Candidate, Decision
from workflows.profile import ProfileState, Trait, merge_states
from workflows.resolution import Resolution
from workflows.running import Done, Parked, Part, RunKey
from workflows.segments import Memberships
from workflows.waiting import Call, RunState
from workflows.windows import since

_encode = msgspec.json.Encoder(decimal_format="number").encode
_encode_any = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode
_workflow_run = msgspec.json.Decoder(WorkflowRun).decode
_run_state = msgspec.json.Decoder(RunState).decode
_traits = msgspec.json.Decoder(dict[str, Trait]).decode
_totals = msgspec.json.Decoder(dict[str, Decimal]).decode


class Profile(NamedTuple):
    created_at: datetime
    merged_into: str | None = None


class Event(NamedTuple):
    """A recorded event."""

    origin: Origin
    type: str
    profile: str | None
    fingerprint: str
    properties: bytes | None
    hops: int
    reused_id: str | None


class Memory:
    """The tables. What is a connection elsewhere is this here."""

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}
        self.sessions: dict[tuple[str, str], str] = {}
        self.identifiers: dict[tuple[str, str], str] = {}
        self.visits: dict[tuple[str, str], Visit] = {}
        self.windowed: set[str] = set()
        self.days: Counter[tuple[str, str, date]] = Counter()
        self.timers: dict[str, date | datetime] = {}
        self.consents: dict[tuple[str, str], Statement] = {}
        self.dropped: set[Origin] = set()
        self.asked_joins: set[tuple[str, str]] = set()
        self.sightings: dict[tuple[str, str], Sighting] = {}
        #: (identifier, profile, reason).
        self.refused: set[tuple[tuple[str, str], str, str]] = set()
        self.events: dict[tuple[str, str], Event] = {}
        self.origins: set[Origin] = set()
        self.duplicates: dict[Origin, tuple[str, str]] = {}
        self.claimed: set[Origin] = set()
        self.counters: Counter[tuple[str, str]] = Counter()
        self.runs: dict[Origin, bytes] = {}
        self.changes: dict[Origin, bytes] = {}
        #: Run to event, state, version of the workflow, and when it is due.
        self.parked: dict[RunKey, tuple[bytes, bytes, str, datetime | None]] = {}
        #: Id to run, node and call.
        self.calls: dict[str, tuple[RunKey, str, Call]] = {}
        self.parts: list[Part] = []
        self.measured: Counter[WindowKey] = Counter()
        self.people_measured: set[tuple[str, datetime, str, str]] = set()
        #: What workflows were when a run that waits began.
        self.graphs: dict[str, Graph] = {}
        self.traits: dict[str, tuple[bytes, bytes]] = {}
        self.memberships: dict[str, Memberships] = {}
        self.versions: dict[str, Said] = {}
        self.said_sends: set[str] = set()
        self.taken: set[tuple[Origin, int]] = set()
        self.merges: list[tuple[str, str]] = []
        #: Profiles to (reason, namespace).
        self.conflicts: dict[tuple[str, ...], tuple[str, str]] = {}
        self.failures: dict[tuple[str, int, int, int], RejectedEvent | DeadLetter] = {}
        self.archived: list[TrackedPayload] = []
        #: (what, source): accepted, recorded, duplicate, id_reused.
        self.counts: Counter[tuple[str, str]] = Counter()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All of it or nothing."""
        start_over = self.begin()
        try:
            yield
        except BaseException:
            await start_over()
            raise

    def begin(self) -> Callable[[], Awaitable[None]]:
        """What brings everything back to how it is now."""
        before = {name: copy.copy(table) for name, table in vars(self).items()}

        async def start_over() -> None:
            vars(self).update({name: copy.copy(table) for name, table in before.items()})

        return start_over

    def live(self, profile: str) -> str:
        """The profile that this one stands for."""
        row = self.profiles.get(profile)
        return (row.merged_into if row else None) or profile

    def state(self, profile: str) -> ProfileState:
        """Traits and totals."""
        traits, totals = self.traits.get(profile, (b"{}", b"{}"))
        return ProfileState(_traits(traits), _totals(totals))


class Table:
    """Base of the stand-ins."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory


class SourceCounts(Table):
    async def accept(self, partition: int, events: Mapping[str, int]) -> None:
        self.memory.counts.update({("accepted", source): count for source, count in events.items()})


class Replayed(Table):
    async def claim(self, origins: Collection[Origin]) -> set[Origin]:
        memory = self.memory
        whole = {(o.partition, o.offset) for o in (*memory.origins, *memory.duplicates)}
        whole |= {(partition, offset) for topic, partition, offset, _ in memory.failures if topic == "tracks"}
        known = {o for o in origins if o in memory.origins or o in memory.duplicates or o in memory.claimed}
        due = {o for o in origins if o not in known and (o.ordinal >= 0 or (o.partition, o.offset) not in whole)}
        memory.claimed |= due
        return due

    async def take(self, attempts: Collection[tuple[Origin, int]]) -> set[tuple[Origin, int]]:
        new = set(attempts) - self.memory.taken
        self.memory.taken |= new
        return new

    async def note(self, resent: Collection[tuple[Origin, int, int]]) -> None:
        """Only whoever cleans the archive asks."""


class Identities(Table):
    async def load(self, sessions: Collection[Any], identifiers: Collection[Any], profiles: Collection[str]) -> Known:
        memory = self.memory
        return Known(
            sessions={key: self._birth(memory.sessions[key]) for key in sessions if key in memory.sessions},
            identifiers={key: self._stored(key) for key in identifiers if key in memory.identifiers},
            profiles={id: self._birth(id) for id in profiles if id in memory.profiles},
            visits={key: memory.visits[key] for key in sessions if key in memory.visits},
        )

    def _birth(self, profile: str) -> Birth:
        live = self.memory.live(profile)
        return Birth(live, self.memory.profiles[live].created_at)

    def _stored(self, key: Any) -> Stored:
        return Stored(self._birth(self.memory.identifiers[key]), self.memory.sightings[key])

    async def values(self, profiles: Collection[str]) -> dict[str, dict[str, set[str]]]:
        found: dict[str, dict[str, set[str]]] = {}
        for profile in profiles:
            near = self._near(profile)
            for (namespace, value), owner in self.memory.identifiers.items():
                if self.memory.live(owner) in near:
                    found.setdefault(profile, {}).setdefault(namespace, set()).add(value)
        return found

    async def apart(self, profiles: Collection[str]) -> dict[str, set[str]]:
        return {}

    def _near(self, profile: str) -> set[str]:
        near: set[str] = set()
        more = {profile}
        while more:
            near |= more
            more = {self.memory.live(two) for one, two in self.memory.asked_joins if one in more} - near
        return near

    async def store(self, resolution: Resolution, known: Known, others: Collection[str] = ()) -> dict[Any, str]:
        self.memory.asked_joins |= {pair for one in resolution.joins for pair in (one, one[::-1])}
        for birth in resolution.new_profiles.values():
            self.memory.profiles.setdefault(birth.id, Profile(birth.created_at))
        self.memory.sessions.update(resolution.sessions)
        self.memory.visits.update(resolution.visits)
        taken = {}
        for key, link in resolution.links.items():
            owner = self.memory.identifiers.setdefault(key, link.profile)
            self.memory.sightings.setdefault(key, link.seen)
            if owner != link.profile:
                taken[key] = self.memory.live(owner)
        self.memory.sightings.update(resolution.seen)
        self.memory.refused |= {(refused.key, refused.profile, refused.reason) for refused in resolution.refused}
        return taken


class Consents(Table):
    async def load(self, profiles: Collection[str]) -> dict[str, Statements]:
        found: dict[str, Statements] = {profile: {} for profile in profiles}
        for (profile, consent), statement in sorted(self.memory.consents.items(), key=lambda item: item[1].stamp):
            if self.memory.live(profile) in found:
                found[self.memory.live(profile)][consent] = statement
        return found

    async def store(self, news: Mapping[tuple[str, str], Statement]) -> None:
        for key, statement in news.items():
            known = self.memory.consents.get(key)
            if known is None or known.stamp < statement.stamp:
                self.memory.consents[key] = statement

    async def dropped(self, origins: Collection[Origin]) -> set[Origin]:
        return self.memory.dropped & set(origins)

    async def drop(self, partition: int, events: Sequence[ValidEvent], reason: str = "no_consent") -> None:
        self.memory.dropped |= {event.origin for event in events}


class Profiles(Table):
    async def lock_live(self, ids: Collection[str]) -> dict[str, str]:
        return {id: self.memory.live(id) for id in ids}


class Events(Table):
    async def record(self, events: Sequence[IdentifiedEvent]) -> Recorded:
        result = Recorded([], Counter(), Counter())
        for event in events:
            if event.origin not in self.memory.origins and event.origin not in self.memory.duplicates:
                self._record(event, None, result)
        return result

    def _record(self, event: IdentifiedEvent, reused_id: str | None, result: Recorded) -> None:
        there = self.memory.events.get((event.source, event.id))
        if there is None:
            properties = bytes(event.properties) if event.save else None
            self.memory.events[event.source, event.id] = Event(
                event.origin, event.type, event.profile, event.fingerprint, properties, event.hops, reused_id
            )
            self.memory.origins.add(event.origin)
            result.new.append(event)
            result.id_reused[event.source] += reused_id is not None
        elif there.fingerprint == event.fingerprint:
            self.memory.duplicates[event.origin] = (event.source, event.id)
            result.duplicates[event.source] += 1
        else:
            original, event.id = event.id, derived_id("reused", event.source, event.id, event.fingerprint)
            self._record(event, original, result)

    async def count(self, partition: int, recorded: Recorded) -> None:
        self.memory.counts.update(("recorded", event.source) for event in recorded.new)
        for what, counted in (("duplicate", recorded.duplicates), ("id_reused", recorded.id_reused)):
            self.memory.counts.update({(what, source): count for source, count in counted.items()})


class Counters(Table):
    async def add(self, events: Iterable[IdentifiedEvent]) -> None:
        self.memory.counters.update((event.profile, event.type) for event in events if event.profile)

    async def load(self, profiles: Collection[str]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {profile: {} for profile in profiles}
        for (profile, type), count in self.memory.counters.items():
            if profile in found:
                found[profile][type] = count
        return found


class Measures(Table):
    async def add(self, partition: int, sums: Mapping[WindowKey, Sums]) -> None:
        for (metric, begins, key), one in sums.items():
            self.memory.measured[metric, begins, key] += one.events
            self.memory.people_measured |= {(metric, begins, key, profile) for profile in one.people}


class Runs(Table):
    async def due(self, origins: Collection[Origin]) -> dict[Origin, str | None]:
        recorded = {event.origin: event.profile for event in self.memory.events.values()}
        return {origin: recorded[origin] for origin in origins if origin in recorded and origin not in self.memory.runs}

    def row(self, done: Done) -> tuple[bytes, bytes]:
        return _encode(done.outcome), _encode(done.changes)

    async def store(self, rows: Mapping[Origin, tuple[bytes, bytes]]) -> None:
        for origin, (outcome, changes) in rows.items():
            assert origin not in self.memory.runs, "an event's workflows run once"
            self.memory.runs[origin], self.memory.changes[origin] = outcome, changes


class ParkedRuns(Table):
    async def awaited_types(self) -> frozenset[str]:
        return frozenset(type for graph in self.memory.graphs.values() for type in graph.awaits)

    async def owners(self, runs: Collection[RunKey]) -> dict[RunKey, str | None]:
        return {run: self._event(run).profile for run in runs if run in self.memory.parked}

    def _event(self, run: RunKey) -> WorkflowRun:
        return _workflow_run(self.memory.parked[run][0])

    async def load(self, runs: Collection[RunKey], profiles: Collection[str], definitions: Definitions) -> list[Parked]:
        theirs = {run for run in self.memory.parked if self.memory.live(self._event(run).profile or "") in profiles}
        return [
            Parked(self._now(_workflow_run(event)), run[1], self.memory.graphs.get(version), _run_state(state))
            for run in sorted(theirs | (runs & self.memory.parked.keys()))
            for event, state, version, _ in [self.memory.parked[run]]
        ]

    def _now(self, run: WorkflowRun) -> WorkflowRun:
        recorded = {event.origin: event.profile for event in self.memory.events.values()}
        owner = recorded.get(run.origin)
        return msgspec.structs.replace(run, profile=owner and self.memory.live(owner))

    async def store(self, runs: Collection[Parked]) -> None:
        for one in runs:
            if not one.state.waiting:
                self.memory.parked.pop(one.key, None)
                self.memory.calls = {id: call for id, call in self.memory.calls.items() if call[0] != one.key}
                continue
            assert one.graph is not None
            self.memory.graphs[one.graph.version] = one.graph
            self.memory.calls = {
                id: (run, node, call)
                for id, (run, node, call) in self.memory.calls.items()
                if run != one.key or node in one.state.waiting
            }
            state = _encode_any(one.state)
            self.memory.parked[one.key] = (_encode_any(one.event), state, one.graph.version, one.state.due_at)
            for node, (id, call) in one.asked.items():
                self.memory.calls.setdefault(id, (one.key, node, call))

    async def note(self, parts: Sequence[Part]) -> None:
        for part in parts:
            outcome = msgspec.json.decode(self.memory.runs[part.origin])
            self.memory.runs[part.origin] = _encode(outcome | {part.workflow: part.outcome})
        self.memory.parts = [*self.memory.parts, *parts]

    def take_due(self, now: datetime) -> list[WorkflowRun]:
        found = []
        for run, (event, state, version, due) in list(self.memory.parked.items()):
            if due is not None and due <= now:
                self.memory.parked[run] = (event, state, version, now + TOLD_AGAIN)
                found.append(told(_workflow_run(event), Resumption(run[1], now)))
        return found


class Traits(Table):
    async def load(self, profiles: Collection[str]) -> dict[str, ProfileState]:
        return {profile: self.memory.state(profile) for profile in profiles}

    async def lock(self, profiles: Collection[str]) -> dict[str, ProfileState]:
        return await self.load(profiles)

    async def store(self, states: Mapping[str, ProfileState]) -> None:
        for profile, state in states.items():
            self.memory.traits[profile] = (_encode(state.traits), _encode(state.totals))


class Claims(Table):
    async def link(self, jobs: Sequence[MergeJob], at: datetime, unique: Collection[str]) -> list[str | None]:
        return [self._link(job, at, job.namespace in unique) for job in jobs]

    def _link(self, job: MergeJob, at: datetime, unique: bool) -> str | None:
        memory, key = self.memory, (job.namespace, job.value or "")
        if key not in memory.identifiers:
            me = memory.live(job.profiles[0])
            mine = {
                value
                for (name, value), owner in memory.identifiers.items()
                if (name, memory.live(owner)) == (job.namespace, me)
            }
            if unique and mine:
                memory.refused.add((key, job.profiles[0], "unique"))
                return None
            memory.identifiers[key] = job.profiles[0]
            memory.sightings[key] = Sighting(at, at)
        return memory.identifiers[key]


class Merges(Table):
    async def lock(self, ids: Collection[str], definitions: Definitions) -> dict[str, Candidate]:
        memory, unique_namespaces = self.memory, definitions.unique_namespaces()
        unique: dict[str, set[tuple[str, str]]] = {}
        for (namespace, value), profile in memory.identifiers.items():
            if namespace in unique_namespaces:
                unique.setdefault(memory.live(profile), set()).add((namespace, value))
        roots = {id: memory.live(id) for id in ids if id in memory.profiles}
        sizes = Counter(map(memory.live, memory.profiles))
        return {
            id: Candidate(root, memory.profiles[root].created_at, frozenset(unique.get(root, ())), sizes[root])
            for id, root in roots.items()
        }

    async def answer(self, jobs: Iterable[MergeJob]) -> None:
        self.memory.asked_joins -= {(p, o) for job in jobs for p in job.profiles for o in job.profiles}

    async def carry_out(
        self, decisions: Sequence[Decision], roots: Mapping[str, Candidate], strategies: Mapping[str, Strategy]
    ) -> dict[str, str]:
        before = part_of = {id: row.merged_into for id, row in self.memory.profiles.items()}
        final: dict[str, str] = {}
        for decision in decisions:
            if decision.conflict is not None:
                profiles = tuple(sorted([decision.survivor, *decision.absorbed]))
                self.memory.conflicts[profiles] = (decision.conflict, decision.namespace)
                continue
            for absorbed in decision.absorbed:
                self._absorb(absorbed, decision.survivor, strategies)
                part_of = {id: row.merged_into for id, row in self.memory.profiles.items()}
                final |= {id: to for id, to in part_of.items() if to == decision.survivor and to != before.get(id)}
        return {id: part_of[id] for id in final}

    def _absorb(self, absorbed: str, survivor: str, strategies: Mapping[str, Strategy]) -> None:
        memory = self.memory
        memory.merges.append((absorbed, survivor))
        state = merge_states([memory.state(survivor), memory.state(absorbed)], strategies)
        memory.traits.pop(absorbed, None)
        memory.traits[survivor] = (_encode(state.traits), _encode(state.totals))
        for profile, type in [key for key in memory.counters if key[0] == absorbed]:
            memory.counters[survivor, type] += memory.counters.pop((profile, type))
        for profile, type, day in [key for key in memory.days if key[0] == absorbed]:
            memory.days[survivor, type, day] += memory.days.pop((profile, type, day))
        for key in [key for key in memory.consents if key[0] == absorbed]:
            mine, theirs = memory.consents.get((survivor, key[1])), memory.consents.pop(key)
            both = [one for one in (mine, theirs) if one is not None]
            memory.consents[survivor, key[1]] = max(both, key=lambda one: (not one.granted, one.stamp))
        said = {one for one in memory.memberships.pop(absorbed, frozenset()) if one[1] != "rule"}
        memory.memberships[survivor] = memory.memberships.get(survivor, frozenset()) | said
        for id, row in memory.profiles.items():
            if id == absorbed or row.merged_into == absorbed:
                memory.profiles[id] = row._replace(merged_into=survivor)


class Erasures(Table):
    """Erasing people is for PostgreSQL to show."""

    async def any(self) -> bool:
        return False

    async def known(self, profiles: Collection[str], hashes: Collection[str] = ()) -> Mapping[str, datetime]:
        return {}


class Partings(Table):
    """Undoing merges is for PostgreSQL to show."""


class SegmentMemberships(Table):
    async def load(self, profiles: Collection[str]) -> dict[str, Memberships]:
        return {profile: self.memory.memberships.get(profile, frozenset()) for profile in profiles}

    async def say(self, said: Mapping[tuple[str, str, SaidBy], bool]) -> None:
        for (profile, segment, origin), member in said.items():
            now = self.memory.memberships.get(profile, frozenset()) - {(segment, origin)}
            self.memory.memberships[profile] = now | {(segment, origin)} if member else now

    async def change(self, before: Mapping[str, Memberships], after: Mapping[str, Memberships]) -> None:
        self.memory.memberships.update(after)


class Windows(Table):
    async def add(self, events: Iterable[IdentifiedEvent]) -> None:
        for event in events:
            if event.profile and event.type in self.memory.windowed:
                self.memory.days[event.profile, event.type, event.occurred_at.date()] += 1

    async def load(self, profiles: Collection[str], types: Collection[str], since: date) -> dict[str, Any]:
        return {
            profile: {
                (type, day): count
                for (owner, type, day), count in self.memory.days.items()
                if owner == profile and type in types and day >= since
            }
            for profile in profiles
        }

    async def set_timers(self, due: Mapping[str, date | datetime | None]) -> None:
        self.memory.timers.update({profile: at for profile, at in due.items() if at is not None})
        for profile in [profile for profile, at in due.items() if at is None]:
            self.memory.timers.pop(profile, None)


class People(Table):
    async def load(self, profiles: Collection[str], definitions: Definitions, today: date) -> dict[str, Person]:
        memory = self.memory
        counters, members = await Counters(memory).load(profiles), await SegmentMemberships(memory).load(profiles)
        said = await Consents(memory).load(profiles)
        types = {window.event_type for window in definitions.windows}
        days = await Windows(memory).load(profiles, types, since(definitions.windows, today))
        visits = {p: self._visits(p) if definitions.asks_for_visits else None for p in profiles}
        return {p: Person(memory.state(p), counters[p], members[p], said[p], days[p], visits[p]) for p in profiles}

    def _visits(self, profile: str) -> Visits | None:
        memory = self.memory
        starts = [memory.visits[key].started for key, owner in memory.sessions.items() if memory.live(owner) == profile]
        return Visits(len(starts), min(starts), max(starts)) if starts else None


class Versions(Table):
    async def load(self, profiles: Collection[str]) -> dict[str, Said]:
        return {profile: self.memory.versions[profile] for profile in profiles if profile in self.memory.versions}

    async def store(self, changes: Iterable[ProfileChange]) -> None:
        self.memory.versions.update({c.profile: Said(c.version, c.merged_into, c.segments) for c in changes})


class SaidSends(Table):
    async def say(self, ids: Collection[str]) -> set[str]:
        new = set(ids) - self.memory.said_sends
        self.memory.said_sends |= new
        return new


class Failures(Table):
    async def store(self, failures: Sequence[RejectedEvent | DeadLetter]) -> None:
        for item in failures:
            place = Origin(item.partition, item.offset, -1) if isinstance(item, DeadLetter) else item.origin
            topic = "tracks" if item.origin else getattr(item, "topic", "")
            origin = item.origin or place
            self.memory.failures.setdefault((topic, origin.partition, origin.offset, origin.ordinal), item)


class Files(Table):
    """In the place of the archive's files."""

    async def write(self, payloads: Sequence[TrackedPayload]) -> None:
        self.memory.archived.extend(payloads)


#: By the names under which steps ask for them.
TOOLS: Mapping[str, type[Table]] = {
    "counts": SourceCounts,
    "replayed": Replayed,
    "identities": Identities,
    "consents": Consents,
    "profiles": Profiles,
    "recorded": Events,
    "counters": Counters,
    "finished": Runs,
    "traits": Traits,
    "parked": ParkedRuns,
    "claims": Claims,
    "merges": Merges,
    "partings": Partings,
    "erasures": Erasures,
    "members": SegmentMemberships,
    "people": People,
    "windows": Windows,
    "measures": Measures,
    "versions": Versions,
    "sends": SaidSends,
    "failures": Failures,
    "files": Files,
}
