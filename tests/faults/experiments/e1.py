"""E1: the door dies at any place, by kill -9 and at named places around its writes; its clients send again."""

import time

from tests.faults.row import Row
from tests.faults.trial import WORKER_BACK_S, Trial
from tests.kit.waiting import until

#: The exit code at a fail point.
DIED = 86
PLACES = ("before-door-produce", "after-door-produce", "before-door-report", "after-door-report")


def run(trial: Trial) -> Row:
    row = trial.row
    chance = trial.chance()
    with trial.cluster() as cluster:
        cluster.start_all()
        load = cluster.load(trial.seed, rate=700, senders=24)
        for number in range(trial.times(16, 4)):
            time.sleep(chance.uniform(1, 3))
            place = PLACES[number % len(PLACES)] if number % 2 else ""
            if place:  # the next door dies by itself
                cluster.stop("ingest")
                cluster.start("ingest", HEADWATER_FAILPOINT=f"{place}:{chance.randrange(20, 60)}")
                until(lambda: not cluster.children["ingest"].running, 60, cluster.tell)
                if (code := cluster.children["ingest"].wait(0)) != DIED:
                    row.violate("died", f"the door ended with {code}")
            else:
                cluster.kill("ingest")
            died = time.monotonic()
            row.faults += 1
            cluster.start_again("ingest")
            cluster.wait_ready()
            until(lambda died=died: load.taken_at and load.taken_at[-1] > died, 30, cluster.tell)  # type: ignore[misc]
            taken = next(at for at in load.taken_at if at > died)
            row.recovered(WORKER_BACK_S, taken - died, "the door killed")
        row.require(load.statuses["no answer"] > 0, "no client was hit")
        return trial.conclude(row, cluster)
