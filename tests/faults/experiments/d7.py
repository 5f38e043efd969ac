"""D7: dispatch dies after the destination has answered and before that is written down: the call comes again, with the
same key."""

import time
from collections import Counter

from tests.faults.row import Row
from tests.faults.trial import Trial, await_return
from tests.kit.waiting import until

#: The exit code at a fail point.
DIED = 86


def run(trial: Trial) -> Row:
    row = trial.row
    chance = trial.chance()
    with trial.cluster(session_timeout_s=3) as cluster:
        cluster.start_all()
        cluster.load(trial.seed, rate=700)
        time.sleep(3)
        for _ in range(trial.times(10, 3)):
            place = chance.choice(("before-checkpoint", "before-commit"))
            cluster.stop("dispatch-hook")
            cluster.start("dispatch-hook", HEADWATER_FAILPOINT=f"{place}:{chance.randrange(2, 5)}")
            until(lambda: not cluster.children["dispatch-hook"].running, 60, cluster.tell)
            if (code := cluster.children["dispatch-hook"].wait(0)) != DIED:
                row.violate("died", f"dispatch ended with {code}")
            row.faults += 1
            died = cluster.watch.mark()
            cluster.start_again("dispatch-hook")
            await_return(row, cluster, "dispatch-hook", died)
        repeated = sum(count - 1 for count in Counter(call.key for call in cluster.receiver.calls).values())
        row.notes["calls"], row.notes["repeated calls"] = len(cluster.receiver.calls), repeated
        row.require(repeated >= row.faults // 2, f"only {repeated} calls were repeated")
        return trial.conclude(row, cluster)
