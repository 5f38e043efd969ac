"""B1: three brokers; the one that leads the first partition of `tracks` is killed, five times in a row."""

import time

from tests.faults.brokers import Broker, ThreeBrokers
from tests.faults.cluster import Cluster
from tests.faults.row import Row
from tests.faults.trial import LEADER_BACK_S, Trial
from tests.kit.waiting import until

FIRST = ("tracks", 0)
GIVEN_UP_S = 90.0


def run(trial: Trial) -> Row:
    row = trial.row
    services = ThreeBrokers(trial.folder / "servers")
    with trial.cluster(services, replication=3) as cluster:
        cluster.start_all()
        load = cluster.load(trial.seed, rate=250)
        time.sleep(trial.seconds(15, 8))
        leaders = []
        for _ in range(trial.times(5, 2)):
            leader = _leader(cluster, services)
            leaders.append(leader.node)
            leader.kill()
            _judge(row, cluster)
            row.faults += 1
            leader.start()
            until(lambda: _all_in_sync(cluster), 90, cluster.tell)
        row.notes["leaders"] = leaders
        row.require(len(set(leaders)) > 1, "the leader never changed")
        row.require(load.acknowledged > 0, "nothing was sent")
        return trial.conclude(row, cluster, drain_within_s=180)


def _judge(row: Row, cluster: Cluster) -> None:
    """The partition whose leader is dead takes new payloads, and they are processed: both in time."""
    killed = cluster.watch.mark()
    before = max(cluster.watch.samples[-1].ends[FIRST], killed.positions["validate", *FIRST])
    taken = processed = None
    while time.monotonic() - killed.at < GIVEN_UP_S and processed is None:
        time.sleep(0.2)
        for sample in cluster.watch.samples[-5:]:
            if sample.at > killed.at and sample.ends[FIRST] > before + 20:
                taken = taken or sample.at - killed.at
                if sample.positions["validate", *FIRST] > before + 20:
                    processed = sample.at - killed.at
    row.recovered(LEADER_BACK_S, taken, "leader killed, taken", GIVEN_UP_S)
    row.recovered(LEADER_BACK_S, processed, "leader killed, processed", GIVEN_UP_S)


def _leader(cluster: Cluster, services: ThreeBrokers) -> Broker:
    topic = cluster.prefix + "tracks"
    node = cluster._admin.list_topics(topic, timeout=10).topics[topic].partitions[0].leader
    return next(broker for broker in services.brokers if broker.node == node)


def _all_in_sync(cluster: Cluster) -> bool:
    """Every partition has all of its copies."""
    topics = cluster._admin.list_topics(timeout=10).topics.values()
    return all(len(part.isrs) == 3 for topic in topics for part in topic.partitions.values())
