"""How long events take to a destination that is well, beside one that answers and beside one that is dead."""

import json
import threading
import time
from functools import partial
from typing import NamedTuple

import httpx

from tests.bench.definitions import WEB
from tests.bench.end_to_end import Pipeline
from tests.bench.http_load import HttpLoad
from tests.bench.receiver import Receiver
from tests.bench.web import Web
from tests.kit.installation import ALL
from tests.kit.serving import Handler, Server
from tests.kit.waiting import until

TWO = (
    WEB
    + """
---
{kind: destination, id: well, type: webhook, url: WELL, events: [probe]}
---
{kind: destination, id: other, type: webhook, url: OTHER, events: ["*"]}
"""
)
#: Events a second beside the probes, and probes a second.
RATE, PROBES_PER_S = 300, 10


class Beside(NamedTuple):
    """From the door's answer to the call, in milliseconds."""

    p50_ms: float
    p99_ms: float


class Probed:
    """A webhook's other end that notes when it was called about which event."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._lock = threading.Lock()
        probed = self

        class Answering(Handler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with probed._lock:
                    probed.at.setdefault(body["body"]["id"], time.monotonic())
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

        self._server = Server(Answering)
        self.url = self._server.url

    def close(self) -> None:
        self._server.close()


def beside(rig: Pipeline, probed: Probed, other: Receiver, seconds: float, seed: int) -> dict[str, Beside]:
    """Probes beside a steady load: while the other destination answers, and when it is gone."""
    rig.start_all()
    rig.start("dispatch-well", "dispatch-other")
    rig.wait_joined("dispatch-well", "dispatch-other")
    load = HttpLoad(rig.port, 8, partial(Web, seed, 1), RATE).start()
    try:
        time.sleep(5)
        alive = _latency(rig, probed, f"alive-{seed}", seconds)
        other.close()
        dead = _latency(rig, probed, f"dead-{seed}", seconds)
    finally:
        load.stop()
    rig.wait_through(120, [stage for stage in ALL if stage != "archive"])
    assert rig.lag(["dispatch-other"]), "the other destination was not dead"
    return {"beside_a_living_one": alive, "beside_a_dead_one": dead}


def _latency(rig: Pipeline, probed: Probed, name: str, seconds: float) -> Beside:
    sent: dict[str, float] = {}
    with httpx.Client(base_url=rig.url, trust_env=False, timeout=30) as client:
        for number in range(int(seconds * PROBES_PER_S)):
            due = time.monotonic() + 1 / PROBES_PER_S
            id = f"{name}-{number}"
            body = {"source": {"id": "web"}, "session": {"id": id}, "events": [{"id": id, "type": "probe"}]}
            client.post("/track", json=body).raise_for_status()
            sent[id] = time.monotonic()
            time.sleep(max(0.0, due - time.monotonic()))
    until(lambda: sent.keys() <= probed.at.keys(), 60, rig.tell)
    took = sorted(1000 * (probed.at[id] - at) for id, at in sent.items())
    return Beside(took[len(took) // 2], took[int(0.99 * (len(took) - 1))])
