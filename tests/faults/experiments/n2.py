"""N2: Kafka takes what the door writes, and its answers are lost: clients hear 503, send again, and it counts once."""

import time

from tests.faults.brokers import ProxiedServices
from tests.faults.row import Row
from tests.faults.trial import Trial


def run(trial: Trial) -> Row:
    row = trial.row
    services = ProxiedServices(trial.folder / "servers")
    with trial.cluster(services) as cluster:
        cluster.overrides["ingest"] = {"HEADWATER_KAFKA": services.kafka_by_proxy}
        cluster.start_all()
        load = cluster.load(trial.seed, rate=900, senders=24, again=0)
        for number in range(trial.times(6, 2)):
            time.sleep(trial.seconds(8, 4))
            services.kafka.proxy.manner = "half" if number % 3 == 2 else "swallow"
            time.sleep(10)
            services.kafka.proxy.manner = "pass"
            services.kafka.proxy.cut()
            row.faults += 1
        time.sleep(5)
        trial.conclude(row, cluster)
        # Nobody sends anything twice here but those whose answer was lost.
        counted = cluster.accounting()["shop"]["duplicates"]
        row.notes["duplicates"] = counted
        row.require(load.statuses["503"] > 0 and counted > 0, "no answer was lost")
        return row
