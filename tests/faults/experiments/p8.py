"""P8: profiles are merged from many sides at once while others lock the same rows in the opposite order: deadlocks are
tried again, and nothing else is."""

import threading
from contextlib import suppress

import psycopg

from tests.faults.chains import Chains
from tests.faults.cluster import Cluster
from tests.faults.row import Row
from tests.faults.trial import Trial

CLIENTS = 4
_LOCK = b"select 1 from profiles where id = %s for update"


def run(trial: Trial) -> Row:
    row = trial.row()
    stop = threading.Event()
    with trial.cluster() as cluster:
        cluster.start_all()
        for stage in ("identify", "merge", "run-workflows"):
            cluster.start(stage, name=f"{stage}-2")
        cluster.wait_joined("identify", "merge", "run-workflows")
        cluster.load(trial.seed, rate=300, visits=Chains(trial.seed, "k", links=30, shuffled=40, tangled=True))
        clients = [threading.Thread(target=_disturb, args=(cluster, stop)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            stop.wait(trial.seconds(100, 30))
        finally:
            stop.set()
            for client in clients:
                client.join()
        row.faults = cluster.one("select deadlocks::int from pg_stat_database where datname = current_database()")
        return trial.conclude(row, cluster)


def _disturb(cluster: Cluster, stop: threading.Event) -> None:
    """Lock pairs of young profiles, the later one first, and hold them a moment."""
    with psycopg.connect(cluster.database_url, autocommit=True) as connection:
        while not stop.wait(0.1):
            rows = connection.execute("select id from profiles order by created_at desc limit 12").fetchall()
            with suppress(psycopg.errors.DeadlockDetected), connection.transaction():
                for (id,) in sorted(rows, reverse=True):
                    connection.execute(_LOCK, (id,))
                    if stop.wait(0.15):
                        break
