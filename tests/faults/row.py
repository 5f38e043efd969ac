"""What an experiment says of itself, and how it comes to say it."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.check import Violations, check
from tests.faults.cluster import Cluster
from tests.faults.ledger import read_ledger
from tests.faults.observe import observe
from tests.faults.oracle import expect

#: A run with fewer acknowledged events, or fewer recorded while something was broken, proves nothing.
MIN_EVENTS = 10_000
MIN_PROGRESS = 100
MAX_MEMORY_MB = 250.0


@dataclass
class Row:
    """One experiment's result."""

    experiment: str
    seed: int
    scale: float
    events_acknowledged: int = 0
    faults: int = 0
    #: By invariant; and of all of them by what went wrong: lost, duplicated, out_of_order or other.
    violations: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    #: Why too little happened for the run to mean anything.
    invalid: list[str] = field(default_factory=list)
    #: The slowest recovery in seconds; None where none was measured.
    recovery_s: float | None = None
    drain_s: float = 0.0
    seconds: float = 0.0
    skipped: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.violations and not self.invalid

    def violate(self, invariant: str, what: str, kind: str = "other") -> None:
        self.violations[invariant] = self.violations.get(invariant, 0) + 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.words.append(f"{invariant}: {what}")

    def require(self, happened: bool, why: str) -> None:
        """Without this the run is invalid."""
        if not happened:
            self.invalid.append(why)

    def recovered(self, within_s: float, took_s: float | None, what: str, waited_s: float = 60.0) -> None:
        """I18: it took this long (None: it had not after `waited_s`), and may take `within_s`."""
        self.recovery_s = max(self.recovery_s or 0.0, round(waited_s if took_s is None else took_s, 2))
        if took_s is None:
            self.violate("I18", f"{what}: never recovered")
        elif took_s > within_s:
            self.violate("I18", f"{what}: recovered after {took_s:.1f} s, not {within_s:.0f}")

    def add(self, found: Violations) -> None:
        for invariant, count in found.counts.items():
            self.violations[invariant] = self.violations.get(invariant, 0) + count
            self.words += [f"{invariant}: {what}" for what in found.words[invariant]]
        for kind, count in found.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count


def conclude(row: Row, cluster: Cluster, scale: float, drain_within_s: float = 120, without: Sequence[str] = ()) -> Row:
    """End the load, wait until all is through, and compare everything with the ledger."""
    for load in cluster.loads:
        load.finish()
    for name, child in cluster.children.items():
        if not child.running:
            row.violate("died", f"{name} ended by itself with {child.wait(0)}")
    try:
        row.drain_s = round(cluster.wait_drained(drain_within_s), 1)
    except AssertionError as error:
        row.violate("I12", str(error))
    compare(row, cluster, without)
    for load in cluster.loads:
        for what in load.dishonest:
            row.violate("I14", what)
    statuses = sum((load.statuses for load in cluster.loads), Counter[str]())
    row.notes["statuses"] = dict(sorted(statuses.items()))
    remember_memory(row, cluster)
    row.require(row.events_acknowledged >= MIN_EVENTS * scale, f"only {row.events_acknowledged} events acknowledged")
    row.require(row.faults > 0, "nothing was broken")
    return row


def compare(row: Row, cluster: Cluster, without: Sequence[str] = ()) -> None:
    """The oracle's word against what is there, `without` some invariants."""
    started = time.monotonic()
    observed = observe(cluster, list(cluster.receiver.calls), cluster.archive_folder())
    expected = expect(read_ledger(cluster.ledger.path), set(observed.landed()))
    row.events_acknowledged += expected.events_acknowledged
    row.add(check(expected, observed, without))
    judge_redelivery(row, cluster, observed.repeated)
    row.notes["persons"], row.notes["recorded"] = len(expected.persons), len(observed.recorded)
    row.notes["check_s"] = round(time.monotonic() - started, 1)


def judge_redelivery(row: Row, cluster: Cluster, repeated: Mapping[tuple[str, int], int]) -> None:
    """What stages wrote twice, as their outputs show. Where only workers were killed: at most one batch a partition
    for each time that lanes were opened anew, when a worker is lost and when it is back.

    The batch is taken to be as large as the largest step of a lane between two looks. What one stage repeats is
    repeated by all behind it.
    """
    row.notes["repeats"] = sum(repeated.values())
    if sum(cluster.killed.values()) != row.faults:
        return
    allowed = 0
    for topic, (stage, outputs) in WRITTEN_BY.items():
        allowed += 2 * cluster.killed[stage] * cluster.watch.largest_step(stage) * outputs
        for (other, partition), count in repeated.items():
            if other == topic and count > allowed:
                row.violate("redelivery", f"{topic}[{partition}]: {count} repeats, not {allowed}", "duplicated")


#: The topics on the way whose repeats are counted, who writes them, and how many records from one at most.
WRITTEN_BY = {
    "events-valid": ("validate", 15),
    "events-identified": ("identify", 1),
    "events-accepted": ("persist", 1),
    "workflow-runs": ("route", 1),
}


def remember_memory(row: Row, cluster: Cluster) -> None:
    """I13."""
    peaks = cluster.watch.peak_mb()
    for name, peak in peaks.items():
        if peak > MAX_MEMORY_MB:
            row.violate("I13", f"{name} had {peak:.0f} MB")
    row.notes["memory_mb"] = round(max(peaks.values(), default=0.0), 1)
