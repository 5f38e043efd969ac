"""P5: the database is restored from a backup that is half a minute old. The lanes notice and stop; `headwater recover`
brings them forward again, and the end is the same as without."""

import subprocess
import time

from tests.faults.cluster import Cluster
from tests.faults.row import Row
from tests.faults.trial import Trial
from tests.kit.waiting import until


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        load = cluster.load(trial.seed, rate=500)
        time.sleep(trial.seconds(15, 8))
        _back_up(cluster)
        time.sleep(trial.seconds(30, 10))
        before = cluster.watch.recorded
        _restore(cluster)
        row.faults += 1
        row.require(cluster.one("select sum(recorded)::int from recorded_counts") < before, "nothing went back")
        query = "select count(*) from lane_health where stopped like '%went back%'"
        until(lambda: cluster.one(query), 60, cluster.tell)
        recovering = time.monotonic()
        done = cluster.command("recover", "--json", within_s=300)
        row.require(done.returncode == 0, f"recover failed: {done.stderr[-800:]}")
        row.notes["recover_s"] = round(time.monotonic() - recovering, 1)
        time.sleep(trial.seconds(20, 10))
        row.require(load.acknowledged > 0, "nothing was sent")
        return trial.conclude(row, cluster, drain_within_s=180)


def _back_up(cluster: Cluster) -> None:
    """A copy of the files of a server that is down for a moment: exact, whatever PostgreSQL's version."""
    postgres = cluster.services.postgres
    postgres.stop()
    subprocess.run(["cp", "-a", f"{postgres._folder}/data", f"{postgres._folder}/backup"], check=True)
    postgres.start()


def _restore(cluster: Cluster) -> None:
    postgres = cluster.services.postgres
    postgres.kill()
    subprocess.run(["rm", "-rf", f"{postgres._folder}/data"], check=True)
    subprocess.run(["mv", f"{postgres._folder}/backup", f"{postgres._folder}/data"], check=True)
    postgres.start()
