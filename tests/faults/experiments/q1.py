"""Q1: one record in ten is random bytes: what is good keeps at least 70 % of its throughput. Then nothing but random
bytes: the lanes stop and say so, acknowledge nothing further, and go on when an operator says so."""

import time

from tests.faults.cluster import Cluster
from tests.faults.direct import DirectLoad, random_bytes
from tests.faults.row import Row
from tests.faults.trial import Trial
from tests.faults.visits import Visits
from tests.kit.waiting import until

#: What poison may leave of the throughput.
SHARE = 0.7
FLOOD = 4000


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.start_all()
        load = DirectLoad(cluster, Visits(trial.seed))
        poison = random_bytes(trial.chance())
        payloads = trial.times(3000, 800)
        _rate(cluster, load.write(payloads // 4))  # warm
        clean, poisoned = [], []
        for _ in range(2):
            clean.append(_rate(cluster, load.write(payloads)))
            poisoned.append(_rate(cluster, load.write(payloads, poison, poison_every=9)))
            row.notes["poison"] = row.notes.get("poison", 0) + payloads // 9
            row.faults += 1
        share = sum(poisoned) / sum(clean)
        row.notes |= {"clean/s": round(max(clean)), "poisoned/s": round(max(poisoned)), "share": round(share, 2)}
        if share < SHARE:
            row.violate("Q1", f"10 % poison leaves {share:.0%} of the throughput")
        for _ in range(FLOOD):
            load.write_bytes(next(poison))
        load.flush()
        row.notes["lanes stopped"] = _through_the_flood(row, cluster)
        row.require(row.notes["lanes stopped"] > 0, "no lane stopped though everything was poison")
        row.faults += 1
        return trial.conclude(row, cluster)


def _rate(cluster: Cluster, events: int) -> float:
    """Events a second, from now until the written ones are recorded (what workflows emit comes on top)."""
    started, before = time.monotonic(), cluster.watch.recorded
    until(lambda: cluster.watch.recorded - before >= events, 180, cluster.tell)
    took = time.monotonic() - started
    cluster.wait_drained(60)
    return events / took


def _through_the_flood(row: Row, cluster: Cluster) -> int:
    """Start validate again whenever its lanes stopped, until all is through; how often that was."""
    times = 0
    deadline = time.monotonic() + 180
    while cluster.lag(["validate"]) and time.monotonic() < deadline:
        if cluster.one("select count(*) from lane_health where stage = 'validate' and stopped is not null"):
            times += 1
            _require_standstill(row, cluster)
            cluster.stop("validate")
            cluster.sql("update lane_health set stopped = null where stage = 'validate' returning 1")
            cluster.start_again("validate")
        time.sleep(0.5)
    return times


def _require_standstill(row: Row, cluster: Cluster) -> None:
    """A lane that stopped acknowledges nothing further, though more waits."""
    stopped = "select partition from lane_health where stage = 'validate' and stopped is not null"
    query = f"select partition, next_offset from stage_progress where stage = 'validate' and partition in ({stopped})"
    before = cluster.sql(query)
    time.sleep(2)
    if moved := set(before) - set(cluster.sql(query)):
        row.violate("Q1", f"stopped lanes went on: {moved}")
