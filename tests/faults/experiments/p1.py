"""P1: kill -9 PostgreSQL, all of its processes, and start it ten seconds later, again and again."""

import time

from tests.faults.row import Row
from tests.faults.trial import POSTGRES_BACK_S, Trial


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        load = cluster.load(trial.seed, rate=700)
        time.sleep(5)
        for _ in range(trial.times(4)):
            cluster.services.postgres.kill()
            row.faults += 1
            before = load.acknowledged
            time.sleep(10)
            row.require(load.acknowledged > before, "the door took nothing while PostgreSQL was away")
            cluster.services.postgres.start()
            back = cluster.watch.mark()
            time.sleep(POSTGRES_BACK_S + 1)
            row.recovered(POSTGRES_BACK_S, cluster.watch.first_recorded(back), "PostgreSQL killed")
        return trial.conclude(row, cluster)
