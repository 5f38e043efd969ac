"""T1: the clocks of workers are a day ahead, then an hour behind, while others are right: nothing expires, nothing is
dated by them, no id is used again."""

import time

from tests.faults.clock import NoClock, clock
from tests.faults.row import Row
from tests.faults.trial import WORKER_BACK_S, Trial

WRONG = (86_400, -3_600)
STAGES = ("validate", "identify", "persist", "run-workflows", "segment", "dispatch-hook")


def run(trial: Trial) -> Row:
    row = trial.row
    try:
        clock(0)
    except NoClock as error:
        row.skipped = f"SKIPPED: {error}"
        return row
    with trial.cluster() as cluster:
        cluster.start_all()
        cluster.load(trial.seed, rate=600)
        time.sleep(trial.seconds(10, 5))
        for seconds in WRONG:
            for stage in STAGES:
                cluster.stop(stage)
                cluster.start(stage, **clock(seconds))
                row.faults += 1
            changed = cluster.watch.mark()
            time.sleep(trial.seconds(25, WORKER_BACK_S + 1))
            row.recovered(WORKER_BACK_S, cluster.watch.first_recorded(changed), f"clocks {seconds:+d} s")
        far = "select count(*) from events where abs(extract(epoch from received_at - recorded_at)) > 600"
        row.notes["dated by a wrong clock"] = cluster.one(far)
        row.require(cluster.one("select count(*) from events") > 0, "nothing was recorded")
        if row.notes["dated by a wrong clock"]:
            row.violate("T1", f"{row.notes['dated by a wrong clock']} events were dated by a wrong clock")
        return trial.conclude(row, cluster)
