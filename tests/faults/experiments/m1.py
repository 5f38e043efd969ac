"""M1: two hundred identities form one chain, link by link in a random order, many chains at a time, while merge and
identify are killed: one profile a chain."""

from tests.faults.chains import Chains
from tests.faults.row import Row
from tests.faults.trial import Trial, kill_in_turn

STAGES = ("merge", "identify", "segment", "run-workflows")


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        for stage in ("identify", "merge"):
            cluster.start(stage, name=f"{stage}-2")
        cluster.wait_joined("identify", "merge")
        cluster.load(trial.seed, rate=300, visits=Chains(trial.seed, "c"))
        names = [*STAGES, "merge-2", "identify-2"]
        kill_in_turn(row, cluster, names, every_s=5, for_s=trial.seconds(90, 30), back_s=1)
        trial.conclude(row, cluster)
        row.notes["merges"] = cluster.one("select count(*) from merges")
        row.require(row.notes["merges"] > 500 * trial.scale, f"only {row.notes['merges']} merges")
        return row
