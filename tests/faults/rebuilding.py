"""An empty installation becomes what another one is, from that one's archive alone."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.check import check
from tests.faults.cluster import STAGES, Cluster
from tests.faults.ledger import read_ledger
from tests.faults.observe import observe
from tests.faults.oracle import expect
from tests.faults.row import Row
from tests.kit.processes import REPOSITORY, headwater
from tests.kit.waiting import until

WITHIN_S = 600
#: A replay brings payloads in another order over the topics, and counts them where they were counted first.
OTHERWISE = ("I5", "I10")


@contextmanager
def empty_beside(cluster: Cluster) -> Iterator[Cluster]:
    """Another installation on the same servers, in the next life of `tracks`, all its stages running."""
    other = Cluster(cluster.services, cluster.folder / "rebuilt", lineage=1)
    try:
        other.start(*STAGES)
        yield other
    finally:
        other.close()


def rebuild(row: Row, cluster: Cluster, other: Cluster, kill_after_s: tuple[float, ...] = ()) -> None:
    """Replay the one's archive into the other, killing the replay after so many seconds each time, and compare."""
    archive = {"HEADWATER_ARCHIVE_URL": (cluster.folder / "data" / "archive").as_uri()}
    for seconds in kill_after_s:
        command = subprocess.Popen(
            headwater("replay", "--yes"),
            cwd=REPOSITORY,
            env=other.variables() | archive,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        until(lambda: other.sql("select 1 from replays where finished_at is null"), 60, other.tell)
        time.sleep(seconds)
        row.faults += command.poll() is None
        command.kill()
        command.wait()
    started = time.monotonic()
    done = other.command("replay", "--yes", "--json", within_s=WITHIN_S, **archive)
    if done.returncode:
        row.violate("I15", f"the replay failed: {done.stderr[-500:]}")
        return
    other.wait_drained(120)
    row.notes["replay_s"] = round(time.monotonic() - started, 1)
    live, rebuilt = state(cluster), state(other)
    for part, value in live.items():
        if rebuilt[part] != value:
            row.violate("I15", f"{part} differs after the replay")
    if other.receiver.calls:
        row.violate("I15", f"the replay called the destination {len(other.receiver.calls)} times")
    # And by the oracle's word, which knows nothing of hashes.
    observed = observe(other, None, None)
    row.add(check(expect(read_ledger(cluster.ledger.path), set(observed.landed())), observed, OTHERWISE))


def state(cluster: Cluster) -> dict[str, str]:
    """Hashes of all parts of the state."""
    found: dict[str, str] = json.loads(cluster.command("state-hash", "--json", within_s=120).stdout)
    return found
