"""N7: the workers' way to PostgreSQL is a black hole for half a minute, then it is cut again and again in the middle
of transactions, and replies come half."""

import time

from tests.faults.brokers import ProxiedServices
from tests.faults.cluster import STAGES
from tests.faults.row import Row
from tests.faults.trial import POSTGRES_BACK_S, Trial


def run(trial: Trial) -> Row:
    row = trial.row
    services = ProxiedServices(trial.folder / "servers")
    with trial.cluster(services) as cluster:
        by_proxy = {"HEADWATER_DATABASE_URL": services.database_by_proxy(cluster.database_url)}
        cluster.overrides = dict.fromkeys(STAGES, by_proxy)
        cluster.start_all()
        cluster.load(trial.seed, rate=700)
        time.sleep(trial.seconds(10, 5))
        services.to_postgres.manner = "blackhole"
        row.faults += 1
        time.sleep(5)
        hole = cluster.watch.mark()
        time.sleep(trial.seconds(25, 10))
        services.to_postgres.manner = "pass"
        services.to_postgres.cut()
        healed = cluster.watch.mark()
        row.require(healed.recorded == hole.recorded, "something was recorded through the black hole")
        time.sleep(POSTGRES_BACK_S + 1)
        row.recovered(POSTGRES_BACK_S, cluster.watch.first_recorded(healed), "the way to PostgreSQL")
        chance = trial.chance()
        for number in range(trial.times(40, 5)):
            time.sleep(chance.uniform(0.3, 2.5))
            services.to_postgres.manner = "half" if number % 4 == 3 else "pass"
            if number % 4 == 3:
                time.sleep(0.5)
                services.to_postgres.manner = "pass"
            row.faults += bool(services.to_postgres.cut())
        return trial.conclude(row, cluster)
