"""The door alone: requests and events that Kafka has acknowledged."""

import time
from functools import partial
from typing import NamedTuple

from tests.bench.feeds import Prepared
from tests.bench.http_load import HttpLoad
from tests.bench.rig import Rig, used
from tests.bench.web import Web

#: Events that are prepared, about 1 KB each.
PREPARED = 30_000


class DoorFigure(NamedTuple):
    """One run: rates by second, latencies in milliseconds, the door's own CPU in microseconds a request."""

    requests_per_s: float
    events_per_s: float
    p50_ms: float
    p99_ms: float
    door_us: float
    refused: int


def run_door(rig: Rig, connections: int, batch: int, seconds: float, seed: int) -> DoorFigure:
    """As much as goes through these connections, a request at a time on each."""
    load = HttpLoad(rig.port, connections, partial(Prepared, partial(Web, seed, batch), PREPARED // batch)).start()
    time.sleep(3.0)
    load.mark()
    before = rig.cpu()
    time.sleep(seconds)
    spent = used(before, rig.cpu())
    sent = load.stop()
    return DoorFigure(
        sent.requests / sent.seconds,
        sent.events / sent.seconds,
        sent.quantile_ms(0.5),
        sent.quantile_ms(0.99),
        1e6 * spent["ingest"] / max(1, sent.requests),
        sent.refused,
    )
