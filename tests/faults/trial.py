"""What every experiment is given, and the ways to break things that several of them share."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import row as rows
from tests.faults.cluster import Cluster, running
from tests.faults.row import Row
from tests.faults.watch import EVERY_S, Mark
from tests.kit.services import Services

#: Goals: seconds from a fault (or from the moment it is mended) to the first work done.
WORKER_BACK_S = 15.0
LEADER_BACK_S = 30.0
POSTGRES_BACK_S = 15.0


@dataclass(frozen=True)
class Trial:
    """One run of one experiment. `scale` shortens it: 1 is the full length. `row` is what it has to say, so far."""

    experiment: str
    folder: Path
    seed: int
    scale: float
    row: Row

    def seconds(self, full: float, least: float = 0.0) -> float:
        """So long, shortened, but not below `least`."""
        return max(full * self.scale, least)

    def times(self, full: int, least: int = 1) -> int:
        return max(round(full * self.scale), least)

    def chance(self) -> random.Random:
        return random.Random(f"{self.experiment}/{self.seed}")

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
    kills: list[tuple[str, Mark]] = []
    ends = time.monotonic() + for_s
    while time.monotonic() < ends:
        name, started = names[len(kills) % len(names)], time.monotonic()
        cluster.kill_worker(name)
        kills.append((name, cluster.watch.mark()))
        row.faults += 1
        time.sleep(back_s)
        cluster.start_again(name)
        time.sleep(max(0.0, every_s - (time.monotonic() - started)))
    time.sleep(WORKER_BACK_S + 1)
    judged = 0
    for number, (name, mark) in enumerate(kills):
        stage = name.removesuffix("-2")
        later = [other.at for other_name, other in kills[number + 1 :] if other_name.removesuffix("-2") == stage]
        judged += judge_return(row, cluster, stage, mark, min(later, default=None))
    row.notes["judged kills"] = judged
    row.require(judged * 3 >= len(kills), f"only {judged} of {len(kills)} kills hit a stage with work to do")


def judge_return(row: Row, cluster: Cluster, stage: str, mark: Mark, until: float | None = None) -> bool:
    """The lanes of a stage that lost a worker go on in time; whether they had anything to do, so that this could be
    judged. archive gathers for ten seconds by design, and is left out."""
    if stage in ("archive", "ingest"):
        return False
    found = cluster.watch.recovery(stage, mark, until)
    if found.stuck and until is not None and until - mark.at < WORKER_BACK_S:
        return False  # it was killed again before its time was up
    if found.lanes:
        row.recovered(WORKER_BACK_S, None if found.stuck else found.took_s, f"{stage} after a kill")
    return found.lanes > 0


def await_return(row: Row, cluster: Cluster, stage: str, mark: Mark) -> None:
    """As judge_return, once the lanes have gone on or their time is over."""
    while time.monotonic() < mark.at + WORKER_BACK_S + 1:
        found = cluster.watch.recovery(stage, mark)
        if found.lanes and not found.stuck:
            break
        time.sleep(EVERY_S)
    judge_return(row, cluster, stage, mark)
