"""The door alone: requests and events that Kafka has acknowledged; beside it, the least that could do so."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from deploy.embedded.process import dying_with_parent, usable_port, wait_until
from schemas.topics import TRACKS
from tests.bench.feeds import Prepared
from tests.bench.http_load import HttpLoad
from tests.bench.rig import Rig, pin, used
from tests.bench.web import Web
from tests.kit.processes import REPOSITORY

#: Events that are prepared, about 1 KB each.
PREPARED = 30_000


class Door(NamedTuple):
    """Who is asked."""

    port: int
    pids: tuple[int, ...]


class DoorFigure(NamedTuple):
    """One run: rates by second, latencies in milliseconds, the door's own CPU in microseconds a request."""

    requests_per_s: float
    events_per_s: float
    p50_ms: float
    p99_ms: float
    door_us: float
    refused: int


def run_door(rig: Rig, door: Door, connections: int, batch: int, seconds: float, seed: int) -> DoorFigure:
    """As much as goes through these connections, a request at a time on each."""
    load = HttpLoad(door.port, connections, partial(Prepared, partial(Web, seed, batch), PREPARED // batch))
    load.start().await_answers()
    time.sleep(1.0)
    load.mark()
    doors = {f"door {pid}": pid for pid in door.pids}
    before = rig.cpu(**doors)
    time.sleep(seconds)
    spent = used(before, rig.cpu(**doors))
    sent = load.stop()
    return DoorFigure(
        sent.requests / sent.seconds,
        sent.events / sent.seconds,
        sent.quantile_ms(0.5),
        sent.quantile_ms(0.99),
        1e6 * sum(spent[name] for name in doors) / max(1, sent.requests),
        sent.refused,
    )


def two_doors(rig: Rig) -> Door:
    """Instead of the one that runs; on one port, a core each, as `headwater up --workers ingest=2` starts them."""
    rig.stop("ingest")
    pids = []
    for number, name in enumerate(("ingest", "ingest-2")):
        rig.start("ingest", name=name, HEADWATER_SHARED_DOOR=str(rig.folder / f"{name}.numbers"))
        pids.append(rig.children[name].pid)
        pin(pids[-1], number)
    assert wait_until(lambda: all(map(_listens, pids)), 30), rig.tell()  # then they are ready too
    return Door(rig.port, tuple(pids))


def _listens(pid: int) -> bool:
    return any(one.status == psutil.CONN_LISTEN for one in psutil.Process(pid).net_connections("tcp4"))


@contextmanager
def bare_bridge(rig: Rig) -> Iterator[Door]:
    """Beside the door, on the same core, writing to the same topic."""
    port = usable_port(0)
    bridge = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare_bridge", rig.prefix + TRACKS.name, str(port)],
        cwd=REPOSITORY,
        env=rig.variables(),
        preexec_fn=dying_with_parent(),
    )
    pin(bridge.pid)
    try:
        assert wait_until(lambda: not usable_port(port), 20), "the bare bridge does not serve"
        yield Door(port, (bridge.pid,))
    finally:
        bridge.kill()
        bridge.wait()
