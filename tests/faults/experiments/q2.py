"""Q2: the topic for dead letters takes nothing. Whoever has one to write ends, and nothing is acknowledged or lost."""

import time

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.faults.cluster import Cluster
from tests.faults.direct import DirectLoad, random_bytes
from tests.faults.row import Row
from tests.faults.trial import Trial
from tests.faults.visits import Visits
from tests.kit.waiting import until


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        cluster.load(trial.seed, rate=500)
        direct = DirectLoad(cluster, Visits(trial.seed, "k"))
        poison = random_bytes(trial.chance())
        for _ in range(trial.times(3)):
            time.sleep(trial.seconds(12, 6))
            _limit_dead_letters(cluster, "1")
            direct.write(20, poison, poison_every=2)
            row.faults += 1
            until(lambda: not cluster.children["validate"].running, 60, cluster.tell)
            stuck = _positions(cluster)
            for _ in range(3):  # a supervisor starts it again, and it ends again
                cluster.start_again("validate")
                until(lambda: not cluster.children["validate"].running, 60, cluster.tell)
            moved = [lane for lane, position in _positions(cluster).items() if position != stuck[lane]]
            # A lane that has none to write may go on; whoever has one stands still.
            if len(moved) == len(stuck):
                row.violate("I10", f"validate went on past what it could not write: {moved}")
            _limit_dead_letters(cluster, "1048588")
            cluster.start_again("validate")
            until(lambda: cluster.watch.backlog() < 5000, 90, cluster.tell)
        trial.conclude(row, cluster)
        row.notes["dead letters"] = cluster.one("select count(*) from failures where kind = 'dead-letter'")
        row.require(row.notes["dead letters"] > 0, "there were no dead letters")
        return row


def _positions(cluster: Cluster) -> dict[int, int]:
    """Where validate stands, by partition."""
    return dict(cluster.sql("select partition, next_offset from stage_progress where stage = 'validate'"))


def _limit_dead_letters(cluster: Cluster, size: str) -> None:
    """How large a batch the topic takes: one byte is nothing at all."""
    entry = ConfigEntry("max.message.bytes", size, incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, cluster.prefix + "dead-letters", incremental_configs=[entry])
    for future in cluster._admin.incremental_alter_configs([topic]).values():
        future.result(10)
