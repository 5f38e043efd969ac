"""W4: freeze a worker for longer than its session, so that another takes over, and wake it: a zombie's writes count
for nothing."""

import time

from tests.faults.row import MIN_PROGRESS, Row
from tests.faults.trial import Trial

FROZEN = ("identify", "persist", "run-workflows", "segment")


def run(trial: Trial) -> Row:
    row = trial.row()
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
                started = time.monotonic()
                for stage in pair:
                    cluster.pause(stage)
                    row.faults += 1
                time.sleep(trial.seconds(35, 25))
                for stage in pair:
                    cluster.resume(stage)
                time.sleep(6)
                went_on = cluster.watch.recorded_between(started + 12, time.monotonic())
                row.require(went_on >= MIN_PROGRESS, f"only {went_on} events recorded while {pair} were frozen")
        row.notes["fenced"] = cluster.one("select coalesce(sum(fenced), 0)::int from lane_health")
        return trial.conclude(row, cluster)
