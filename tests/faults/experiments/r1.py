"""R1: all that is left is the archive. Replayed into an empty installation it gives the same state, and no call; into
the live one it changes nothing."""

import time

from tests.faults.rebuilding import WITHIN_S, empty_beside, rebuild, state
from tests.faults.row import Row
from tests.faults.trial import Trial


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        cluster.load(trial.seed, rate=900)
        time.sleep(trial.seconds(35, 12))
        row.faults = 1  # all but the archive is taken for lost
        trial.conclude(row, cluster)
        before, calls = state(cluster), len(cluster.receiver.calls)
        done = cluster.command("replay", "--yes", within_s=WITHIN_S)
        cluster.wait_drained(120)
        if done.returncode or state(cluster) != before or len(cluster.receiver.calls) != calls:
            row.violate("I15", f"a replay into the live installation changed it: {done.stderr[-300:]}")
        with empty_beside(cluster) as other:
            rebuild(row, cluster, other)
        return row
