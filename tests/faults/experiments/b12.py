"""B12: Kafka is away for 70 seconds under load. The door says 503, never 2xx, and afterwards nothing is missing."""

import time

from tests.faults.row import Row
from tests.faults.trial import LEADER_BACK_S, Trial


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        load = cluster.load(trial.seed, rate=700, senders=24)
        time.sleep(trial.seconds(20, 8))
        cluster.services.kafka.kill()
        killed = time.monotonic()
        row.faults += 1
        time.sleep(trial.seconds(70, 15))
        lied = [at for at in load.taken_at if at > killed + 1]
        if lied:
            row.violate("I14", f"{len(lied)} payloads were taken while Kafka was away")
        row.require(load.statuses["503"] > 0, "nobody was told 503")
        cluster.services.kafka.start()
        back = cluster.watch.mark()
        time.sleep(trial.seconds(40, LEADER_BACK_S + 1))
        row.recovered(LEADER_BACK_S, cluster.watch.first_recorded(back), "Kafka away")
        row.require(all(child.running for child in cluster.children.values()), "a process ended")
        return trial.conclude(row, cluster)
