"""B1: three brokers; the one that leads the first partition of `tracks` is killed, five times in a row."""

import time

from tests.faults.brokers import Broker, ThreeBrokers
from tests.faults.cluster import Cluster
from tests.faults.row import Row
from tests.faults.trial import LEADER_BACK_S, Trial
from tests.kit.waiting import until


def run(trial: Trial) -> Row:
    row = trial.row()
    services = ThreeBrokers(trial.folder / "servers")
    with trial.cluster(services, replication=3) as cluster:
        cluster.start_all()
        load = cluster.load(trial.seed, rate=400)
        time.sleep(trial.seconds(15, 8))
        for _ in range(trial.times(5, 2)):
            leader = _leader(cluster, services)
            leader.kill()
            killed = time.monotonic()
            row.faults += 1
            until(lambda k=killed: cluster.watch.first_recorded(k + 0.5), 60, cluster.tell)  # type: ignore[misc]
            row.recovered(LEADER_BACK_S, cluster.watch.first_recorded(killed + 0.5), "leader killed, recorded")
            until(lambda k=killed: load.taken_at[-1] > k + 0.5, 60, cluster.tell)  # type: ignore[misc]
            taken = next(at for at in load.taken_at if at > killed + 0.5)
            row.recovered(LEADER_BACK_S, taken - killed, "leader killed, taken")
            time.sleep(5)
            leader.start()
            until(lambda: _all_in_sync(cluster), 90, cluster.tell)
        return trial.conclude(row, cluster, drain_within_s=180)


def _leader(cluster: Cluster, services: ThreeBrokers) -> Broker:
    topic = cluster.prefix + "tracks"
    node = cluster._admin.list_topics(topic, timeout=10).topics[topic].partitions[0].leader
    return next(broker for broker in services.brokers if broker.node == node)


def _all_in_sync(cluster: Cluster) -> bool:
    """Every partition has all of its copies."""
    topics = cluster._admin.list_topics(timeout=10).topics.values()
    return all(len(part.isrs) == 3 for topic in topics for part in topic.partitions.values())
