"""W4: freeze a worker for longer than its session, so that another takes over, and wake it: a zombie's writes count
for nothing."""

import time

from tests.faults.cluster import Cluster
from tests.faults.row import Row
from tests.faults.trial import WORKER_BACK_S, Trial

FROZEN = ("identify", "persist", "run-workflows", "segment")


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        for stage in FROZEN:
            cluster.start(stage, name=f"{stage}-2")
        cluster.wait_joined(*FROZEN)
        cluster.load(trial.seed, rate=600)
        time.sleep(5)
        for _ in range(trial.times(2)):
            # Two neighbours at a time: the one's outputs are the other's input.
            for pair in (FROZEN[:2], FROZEN[2:]):
                _freeze(row, cluster, pair, trial.seconds(35, 25))
        row.notes["fenced"] = cluster.one("select coalesce(sum(fenced), 0)::int from lane_health")
        return trial.conclude(row, cluster)


def _freeze(row: Row, cluster: Cluster, stages: tuple[str, ...], for_s: float) -> None:
    for stage in stages:
        cluster.pause(stage)
        row.faults += 1
    frozen = cluster.watch.mark()
    cluster.wait_joined(*stages)  # without those that are frozen
    time.sleep(max(0.0, for_s - (time.monotonic() - frozen.at)))
    woken = time.monotonic()
    for stage in stages:
        cluster.resume(stage)
    for stage in stages:
        found = cluster.watch.recovery(stage, frozen, woken)
        row.require(found.lanes == cluster.partitions, f"{stage}: only {found.lanes} lanes had work")
        # Two stages in a row: the second has nothing to do until somebody took over the first.
        row.recovered(2 * WORKER_BACK_S, None if found.stuck else found.took_s, f"{stage} frozen")
    time.sleep(6)
