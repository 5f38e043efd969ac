"""N1: the door's way to Kafka is a black hole for half a minute, then its connections are reset, then cut often."""

import time

from tests.faults.brokers import ProxiedServices
from tests.faults.row import Row
from tests.faults.trial import WORKER_BACK_S, Trial


def run(trial: Trial) -> Row:
    row = trial.row
    services = ProxiedServices(trial.folder / "servers")
    with trial.cluster(services) as cluster:
        cluster.overrides["ingest"] = {"HEADWATER_KAFKA": services.kafka_by_proxy}
        cluster.start_all()
        load = cluster.load(trial.seed, rate=800, senders=24)
        time.sleep(trial.seconds(15, 5))
        services.kafka.proxy.manner = "blackhole"
        row.faults += 1
        hole = time.monotonic()
        time.sleep(trial.seconds(30, 15))
        services.kafka.proxy.manner = "pass"
        services.kafka.proxy.cut()
        healed = time.monotonic()
        if lied := [at for at in load.taken_at if hole + 1 < at < healed - 0.1]:
            row.violate("I14", f"{len(lied)} payloads were taken while Kafka could not be reached")
        row.require(load.statuses["503"] > 0, "nobody was told 503")
        time.sleep(trial.seconds(20, WORKER_BACK_S + 1))
        first = next((at - healed for at in load.taken_at if at > healed), None)
        row.recovered(WORKER_BACK_S, first, "the door's way to Kafka")
        for _ in range(trial.times(20)):
            row.faults += bool(services.kafka.proxy.cut())
            time.sleep(1.5)
        return trial.conclude(row, cluster)
