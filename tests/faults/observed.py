"""What is there in the end: rows of PostgreSQL, records of topics, files of the archive, calls at the webhook."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Origin = tuple[int, int, int]


@dataclass(frozen=True)
class Recorded:
    """One row of `events`."""

    id: str
    type: str
    session: str
    profile: str
    origin: Origin
    reused: bool = False
    #: The alert that an emitted event was emitted for.
    name: str = ""
    #: When, by PostgreSQL's clock, in seconds.
    at: float = 0.0


@dataclass(frozen=True)
class Tracked:
    """One record of `tracks`."""

    partition: int
    offset: int
    digest: bytes
    #: Ids of its events; None for bytes that are no payload.
    ids: tuple[str, ...] | None


@dataclass
class Profile:
    """A live profile: what PostgreSQL has for it."""

    id: str
    counters: dict[str, int] = field(default_factory=dict)
    amount: int = 0
    last: int | None = None
    watched: bool = False
    segments: set[str] = field(default_factory=set)
    version: int = 0


@dataclass(frozen=True)
class Said:
    """The last word about a profile on the outbound topic."""

    version: int
    counters: dict[str, int]
    amount: int
    last: int | None
    segments: frozenset[str]
    merged_into: str | None


@dataclass(frozen=True)
class Call:
    """One call that the webhook took or refused."""

    key: str
    profile: str
    version: int
    body: str
    #: The alert that a workflow told, empty for a profile's change.
    name: str = ""
    purchases: int = 0
    amount: int = 0
    taken: bool = True


@dataclass
class Observed:
    """Everything the checks look at. Pointers of merged profiles are followed."""

    recorded: list[Recorded] = field(default_factory=list)
    tracks: list[Tracked] = field(default_factory=list)
    #: (partition, offset) to digests, as often as archive files hold it. None where no archive is kept.
    archived: dict[tuple[int, int], set[bytes]] | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)
    #: Session id, or (namespace, value), to the live profile.
    sessions: dict[str, str] = field(default_factory=dict)
    identifiers: dict[tuple[str, str], str] = field(default_factory=dict)
    #: Merged profiles whose pointer does not lead to a live one at once.
    far_pointers: list[str] = field(default_factory=list)
    conflicts: int = 0
    #: Event ids with a workflow run, as often as there is one.
    runs: Counter[str] = field(default_factory=Counter)
    #: When they ran, by PostgreSQL's clock, in seconds.
    ran_at: dict[str, float] = field(default_factory=dict)
    #: Ids of rejected events, and reasons of dead letters that are not replayed, once a row.
    rejected: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    #: accepted, recorded, duplicates, rejected, dead_letters of each source.
    accounting: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Topic to (partition, event id) in order, first occurrences in each partition only.
    order: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    #: (topic, partition) to how many records in it repeat an earlier one of it.
    repeated: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: The highest version of each profile that was said, and versions that were said after a higher one.
    said: dict[str, Said] = field(default_factory=dict)
    backwards: list[str] = field(default_factory=list)
    #: Merged profiles, and what they became part of.
    merged: dict[str, str] = field(default_factory=dict)
    #: Profile and version that were said with two different bodies.
    contradictions: list[str] = field(default_factory=list)
    #: None where no webhook is part of the run.
    calls: list[Call] | None = None
    #: Lines of logs that no log may hold.
    bad_lines: list[str] = field(default_factory=list)

    def landed(self) -> Counter[str]:
        """Event ids to how often they lie in `tracks`."""
        return Counter(id for record in self.tracks for id in record.ids or ())


def whole(value: Any) -> int:
    """A sum as PostgreSQL, JSON or nobody gives it."""
    return int(value or 0)
