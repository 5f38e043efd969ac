"""D1: the destination answers 500, hangs, resets, is slow. It gets everything afterwards, each under one key."""

import time

from tests.faults.receiver import Behaviour
from tests.faults.row import Row
from tests.faults.trial import Trial
from tests.kit.waiting import until

TROUBLE: tuple[Behaviour, ...] = ("fail", "hang", "reset", "slow")


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        cluster.load(trial.seed, rate=700)
        time.sleep(5)
        for number in range(trial.times(8, 4)):
            trouble = TROUBLE[number % len(TROUBLE)]
            calls = len(cluster.receiver.calls)
            row.notes["trouble"] = [*row.notes.get("trouble", []), trouble]
            cluster.receiver.behaviour = trouble
            row.faults += 1
            started = time.monotonic()
            # Whoever was refused waits a while before it tries again.
            until(lambda calls=calls: len(cluster.receiver.calls) > calls, 60, cluster.tell)  # type: ignore[misc]
            time.sleep(8)
            # Everybody else goes on: nothing but dispatch may wait.
            went_on = cluster.watch.recorded_between(started, time.monotonic())
            row.require(went_on > 1000, f"only {went_on} events were recorded beside the trouble")
            cluster.receiver.behaviour = "ok"
            time.sleep(3)
        troubled = sum(not call.taken for call in cluster.receiver.calls)
        row.require(troubled > 10, f"only {troubled} calls met trouble")
        row.notes["calls"], row.notes["refused calls"] = len(cluster.receiver.calls), troubled
        return trial.conclude(row, cluster, drain_within_s=150)
