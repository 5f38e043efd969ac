"""The door under pressure: paced, beside thousands who dawdle, and with five times as many clients as it has places."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from tests.bench.door import PREPARED
from tests.bench.feeds import Prepared
from tests.bench.http_load import HttpLoad, Sent
from tests.bench.rig import Rig
from tests.bench.web import Web

#: Requests a second that a busy shop sends, evenly.
PACED = 2_000
SLOW_CONNECTIONS = 2_000
#: Requests that the pressed door has under way at most, and connections that want so many times as much.
PLACES, TIMES = 64, 5
_HALF_A_REQUEST = (
    b"POST /track HTTP/1.1\r\nhost: door\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{"
)


class PressedFigure(NamedTuple):
    """`goodput`: acknowledged requests a second, as a share of what goes through without pressure."""

    paced_p50_ms: float
    paced_p99_ms: float
    memory_mb: float
    memory_beside_slow_mb: float
    beside_slow_share: float
    overload_goodput_share: float
    overload_refused_per_s: float
    first_seconds_after_share: float


def run_pressed(rig: Rig, seconds: float, seed: int) -> PressedFigure:
    """The door of `rig` takes PLACES requests at a time."""
    _run(rig, PLACES, seconds, seed)  # warms up
    alone = _run(rig, PLACES, seconds, seed)
    paced = _run(rig, PLACES, seconds, seed, PACED)
    memory = rig.memory_mb()["ingest"]
    with _dawdling(rig.port):
        beside = _run(rig, PLACES // 2, seconds, seed)
        memory_beside = rig.memory_mb()["ingest"]
    half = _run(rig, PLACES // 2, seconds, seed)
    pressed = _run(rig, PLACES * TIMES, seconds, seed)
    after = _run(rig, PLACES, 5, seed, warm_s=0.0)
    return PressedFigure(
        paced_p50_ms=paced.quantile_ms(0.5),
        paced_p99_ms=paced.quantile_ms(0.99),
        memory_mb=memory,
        memory_beside_slow_mb=memory_beside,
        beside_slow_share=_rate(beside) / _rate(half),
        overload_goodput_share=_rate(pressed) / _rate(alone),
        overload_refused_per_s=pressed.refused / pressed.seconds,
        first_seconds_after_share=_rate(after) / _rate(alone),
    )


def _run(rig: Rig, connections: int, seconds: float, seed: int, rate: float = 0, warm_s: float = 2.0) -> Sent:
    feed = partial(Prepared, partial(Web, seed), PREPARED)
    load = HttpLoad(rig.port, connections, feed, rate).start()
    if warm_s:
        load.await_answers()
        time.sleep(warm_s)
    load.mark()
    time.sleep(seconds)
    return load.stop()


def _rate(sent: Sent) -> float:
    return sent.requests / sent.seconds


@contextmanager
def _dawdling(port: int) -> Iterator[None]:
    """So many connections, each with half a request that does not go on."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(SLOW_CONNECTIONS)]
    for connection in connections:
        connection.sendall(_HALF_A_REQUEST)
    try:
        yield
    finally:
        for connection in connections:
            connection.close()
