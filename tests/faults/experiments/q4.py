"""Q4: three payloads of ten are sent again, several times, through two doors, while stages are killed."""

from tests.faults.cluster import STAGES
from tests.faults.row import Row
from tests.faults.trial import Trial, kill_in_turn
from tests.kit.waiting import until


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        second = cluster.second_door()
        cluster.start_all()
        until(lambda: cluster.answers(second), 30, cluster.tell)
        for run in ("a", "b"):
            cluster.load(trial.seed, rate=400, run=run, again=0.6, other_doors=(("127.0.0.1", second),))
        names = [name for name in STAGES if name in ("validate", "identify", "persist", "run-workflows")]
        kill_in_turn(row, cluster, names, every_s=5, for_s=trial.seconds(80, 25), back_s=1)
        trial.conclude(row, cluster)
        counted = cluster.accounting()["shop"]["duplicates"]
        row.notes["duplicates"] = counted
        row.require(counted > 0.3 * row.events_acknowledged, f"only {counted} duplicates")
        return row
