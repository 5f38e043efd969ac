"""E4: many more clients than the door serves: early 503, no loss, the goodput of before, and calm right afterwards."""

import time

from tests.faults.load import Load
from tests.faults.row import Row
from tests.faults.trial import Trial

#: Requests that the door serves at a time here, and how many clients knock.
SERVED, CLIENTS = 6, 32
GOODPUT = 0.8
CALM_S = 5.0


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster() as cluster:
        cluster.overrides["ingest"] = {"HEADWATER_MAX_IN_FLIGHT": str(SERVED)}
        cluster.start_all()

        def nothing_waits() -> int:
            return 0

        usual = cluster.load(trial.seed, rate=1e9, run="u", senders=SERVED, backlog=nothing_waits)
        time.sleep(trial.seconds(15, 8))
        usual.finish()
        peak = _goodput(usual)
        crowd = cluster.load(trial.seed, rate=1e9, run="o", senders=CLIENTS, backlog=nothing_waits)
        time.sleep(trial.seconds(30, 10))
        row.faults += 1
        calm = time.monotonic()
        crowd.finish()
        after = cluster.load(trial.seed, rate=200, run="a", senders=SERVED, backlog=nothing_waits)
        time.sleep(CALM_S)
        first = after.taken_at[0] - calm if after.taken_at else None
        row.recovered(CALM_S, first, "the crowd is gone")
        share = _goodput(crowd) / peak
        row.notes |= {"peak/s": round(peak), "crowded/s": round(_goodput(crowd))}
        if share < GOODPUT:
            row.violate("E4", f"goodput fell to {share:.0%}")
        row.require(crowd.statuses["503"] > 0, "nobody was told 503")
        return trial.conclude(row, cluster, drain_within_s=400)


def _goodput(load: Load) -> float:
    """Events taken a second."""
    return load.acknowledged / (load.taken_at[-1] - load.taken_at[0])
