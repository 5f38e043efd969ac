"""P8: profiles are merged from many sides at once while others lock the same rows in the opposite order: deadlocks are
tried again, and so is what was merged between a look and a lock; nothing else is."""

import threading
from collections import Counter
from contextlib import suppress

import psycopg

from tests.faults.chains import Chains
from tests.faults.cluster import Cluster
from tests.faults.row import Row
from tests.faults.trial import Trial

CLIENTS = 4
_LOCK = b"select 1 from profiles where id = %s for update"


def run(trial: Trial) -> Row:
    row = trial.row
    stop = threading.Event()
    with trial.cluster() as cluster:
        cluster.start_all()
        for stage in ("identify", "merge", "run-workflows"):
            cluster.start(stage, name=f"{stage}-2")
        cluster.wait_joined("identify", "merge", "run-workflows")
        cluster.load(trial.seed, rate=300, visits=Chains(trial.seed, "k", links=30, shuffled=40, tangled=True))
        failed: list[str] = []
        clients = [threading.Thread(target=_disturb, args=(cluster, stop, failed), daemon=True) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            stop.wait(trial.seconds(100, 30))
        finally:
            stop.set()
            for client in clients:
                client.join()
        row.faults = CLIENTS
        row.notes["deadlocks"] = cluster.one(
            "select deadlocks::int from pg_stat_database where datname = current_database()"
        )
        row.require(not failed, f"a client that locks rows ended: {failed}")
        trial.conclude(row, cluster)
        retries = Counter[str]()
        for (found,) in cluster.sql("select retries from lane_health"):
            retries.update(found)
        row.notes["retries"] = dict(retries)
        row.require(retries["postgresql 40P01"] > 0, "no lane of ours was ever the victim of a deadlock")
        others = set(retries) - {"postgresql 40P01", "postgresql 40001", "postgresql 55P03", "definitions behind"}
        others -= {"a profile is gone"}  # identify starts over where one was merged between its look and its lock
        row.require(not others, f"something else was tried again: {others}")
        return row


def _disturb(cluster: Cluster, stop: threading.Event, failed: list[str]) -> None:
    try:
        _lock_backwards(cluster, stop)
    except psycopg.Error as error:
        failed.append(f"{type(error).__name__} {error}")


def _lock_backwards(cluster: Cluster, stop: threading.Event) -> None:
    """Lock young profiles, the last of them first, and hold them a moment."""
    with psycopg.connect(cluster.database_url, autocommit=True) as connection:
        while not stop.wait(0.1):
            rows = connection.execute("select id from profiles order by created_at desc limit 12").fetchall()
            with suppress(psycopg.errors.DeadlockDetected), connection.transaction():
                for (id,) in sorted(rows, reverse=True):
                    connection.execute(_LOCK, (id,))
                    if stop.wait(0.15):
                        break
