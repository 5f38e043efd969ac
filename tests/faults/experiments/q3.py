"""Q3: a schema that is wrong rejects good events. It is mended, and what it rejected is sent again, twice: all of it
lands once, while stages are killed."""

import re
import time

from tests.faults.cluster import Cluster
from tests.faults.definitions import DEFINITIONS
from tests.faults.row import Row
from tests.faults.trial import Trial, kill_in_turn

#: Asks for a property that nobody sends.
WRONG = DEFINITIONS.replace("required: [amount, seq]", "required: [amount, seq, colour]")
#: Repaired events come after later ones of their session; in `tracks` they lie twice.
OTHERWISE = ("I5", "I10")


def run(trial: Trial) -> Row:
    row = trial.row
    with trial.cluster(definitions=WRONG) as cluster:
        cluster.start_all()
        wrong = cluster.load(trial.seed, rate=500, run="w", judge=False)
        kill_in_turn(row, cluster, ("validate", "record-failures"), every_s=6, for_s=trial.seconds(30, 12), back_s=1)
        wrong.finish()
        cluster.apply(re.sub("url: URL", f"url: {cluster.receiver.url}", DEFINITIONS))
        time.sleep(2)  # a change is live within a second, by promise
        cluster.load(trial.seed, rate=300, run="r")
        before = _rejected(cluster)
        for stage in ("validate", "persist"):
            # As a replay leaves them that died before it noted what it had sent: the second time sends all once more.
            cluster.sql("update failures set state = 'open' where kind = 'rejected' and state = 'replayed' returning 1")
            sent = cluster.command("rejected", "replay", "--all", "--reason", "schema_invalid", within_s=300)
            row.require(sent.returncode == 0, f"the replay failed: {sent.stderr[-500:]}")
            row.notes[f"sent, {stage} killed"] = sent.stdout.strip()
            cluster.kill_worker(stage)
            row.faults += 1
            cluster.start_again(stage)
        trial.conclude(row, cluster, without=OTHERWISE)
        row.notes |= {"rejected at first": before, "in the end": _rejected(cluster)}
        row.require(before > 2000 * trial.scale, f"only {before} events were rejected")
        try:
            cluster.require_balance()
        except AssertionError as error:
            row.violate("I10", str(error))
        return row


def _rejected(cluster: Cluster) -> int:
    return int(cluster.one("select count(*) from failures where kind = 'rejected' and state = 'open'"))
