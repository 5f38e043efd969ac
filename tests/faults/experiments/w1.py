"""W1: kill -9 a worker every three seconds, each stage in turn, start it again a second later."""

from tests.faults.cluster import STAGES
from tests.faults.row import Row
from tests.faults.trial import Trial, kill_in_turn


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        cluster.start("identify", name="identify-2")
        cluster.start("persist", name="persist-2")
        cluster.wait_joined("identify", "persist")
        cluster.load(trial.seed, rate=700)
        names = [*STAGES, "identify-2", "persist-2"]
        trial.chance().shuffle(names)
        kill_in_turn(row, cluster, names, every_s=3, for_s=trial.seconds(130, 40), back_s=1)
        return trial.conclude(row, cluster)
