"""R3: a replay is killed three times and started again: it ends in the same state as the live run."""

import time

from tests.faults.cluster import STAGES
from tests.faults.rebuilding import empty_beside, rebuild
from tests.faults.row import Row
from tests.faults.trial import Trial


def run(trial: Trial) -> Row:
    row = trial.row
    chance = trial.chance()
    with trial.cluster() as cluster:
        cluster.start_all()
        cluster.load(trial.seed, rate=900)
        time.sleep(trial.seconds(35, 12))
        row.faults = 1  # the archive is all that is left
        trial.conclude(row, cluster)
        for stage in STAGES:  # they would only take processor time
            cluster.stop(stage)
        with empty_beside(cluster) as other:
            rebuild(row, cluster, other, tuple(chance.uniform(0.2, 2) for _ in range(3)))
        row.require(row.faults == 4, f"the replay was killed {row.faults - 1} times, not three")
        return row
