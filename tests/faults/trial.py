"""What every experiment is given, and the ways to break things that several of them share."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import row as rows
from tests.faults.cluster import Cluster, running
from tests.faults.row import Row
from tests.kit.services import Services

#: Goals: seconds from a fault (or from the moment it is mended) to the first work done.
WORKER_BACK_S = 15.0
LEADER_BACK_S = 30.0
POSTGRES_BACK_S = 15.0
#: The largest batch of a stage. After a kill at most this much of a partition may be done twice.
BATCH = 3000


@dataclass(frozen=True)
class Trial:
    """One run of one experiment. `scale` shortens it: 1 is the full length."""

    experiment: str
    folder: Path
    seed: int
    scale: float = 1.0

    def seconds(self, full: float, least: float = 0.0) -> float:
        """So long, shortened, but not below `least`."""
        return max(full * self.scale, least)

    def times(self, full: int, least: int = 1) -> int:
        return max(round(full * self.scale), least)

    def chance(self) -> random.Random:
        return random.Random(f"{self.experiment}/{self.seed}")

    def row(self) -> Row:
        return Row(self.experiment, self.seed)

    @contextmanager
    def cluster(self, services: Services | None = None, **options: Any) -> Iterator[Cluster]:
        """An installation of its own; nothing of it runs yet."""
        with running(self.folder, services, **options) as cluster:
            yield cluster

    def conclude(self, row: Row, cluster: Cluster, drain_within_s: float = 120, without: Sequence[str] = ()) -> Row:
        """Wait until all is through and compare everything with the ledger, `without` some invariants."""
        return rows.conclude(row, cluster, self.scale, drain_within_s, without)


def kill_in_turn(row: Row, cluster: Cluster, names: Sequence[str], every_s: float, for_s: float, back_s: float) -> None:
    """kill -9 one process every so often, start it again `back_s` later; afterwards judge how fast each came back."""
    kills: list[tuple[str, float]] = []
    ends = time.monotonic() + for_s
    while time.monotonic() < ends:
        name = names[len(kills) % len(names)]
        kills.append((name, time.monotonic()))
        cluster.kill(name)
        row.faults += 1
        time.sleep(back_s)
        cluster.start_again(name)
        time.sleep(max(0.0, every_s - (time.monotonic() - kills[-1][1])))
    time.sleep(WORKER_BACK_S + 1)
    for number, (name, at) in enumerate(kills):
        stage = name.removesuffix("-2")
        later = [when for other, when in kills[number + 1 :] if other.removesuffix("-2") == stage]
        judge_return(row, cluster, stage, at, min(later, default=None))


def judge_return(row: Row, cluster: Cluster, stage: str, at: float, until: float | None = None) -> None:
    """The lanes of a stage that lost a worker go on in time. archive gathers for ten seconds by design, and is left out
    as are stages that stood still only because another one upstream had been killed."""
    if stage in ("archive", "ingest"):
        return
    took = cluster.watch.recovery(stage, at, until)
    if took is None and until is not None and until - at < WORKER_BACK_S:
        return  # it was killed again before its time was up
    row.recovered(WORKER_BACK_S, took, f"{stage} after a kill")


def judge_redelivery(row: Row, cluster: Cluster, kills: Callable[[str], int]) -> None:
    """After each kill, or other loss of a worker, at most one batch a partition is done twice."""
    found = cluster.redelivered()
    row.notes["redelivered"] = sum(found.values())
    for lane, count in found.items():
        allowed = BATCH * max(kills(lane[0]), 0)
        if count > allowed:
            row.violate("I18", f"{lane}: {count} records came again, {kills(lane[0])} kills")
