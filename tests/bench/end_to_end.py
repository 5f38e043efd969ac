"""The whole way, door to outbound topic: the highest rate that is held, and how long an event takes at lower ones."""

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import httpx
from confluent_kafka import Consumer, TopicPartition

from tests.bench.feeds import Feed
from tests.bench.http_load import HttpLoad
from tests.bench.rig import Rig, used
from tests.bench.web import Web
from tests.kit.installation import ALL
from tests.kit.waiting import until

#: Events a payload. Connections are many enough to keep the door busy.
BATCH, CONNECTIONS = 10, 32
#: The load waits while more records than this lie before any stage: a second or two of work.
MOST_WAITING = 20_000
LOOK_EVERY_S = 0.25
#: Probes a second: single events of new sessions, whose profile changes are waited for on the outbound topic.
PROBES_PER_S = 10


class Held(NamedTuple):
    """A span at the highest rate. CPU in microseconds an event by process; bytes an event."""

    events_per_s: float
    cpu_us: dict[str, float]
    wal_bytes: float
    disk_bytes: dict[str, float]
    memory_mb: dict[str, float]
    waiting: int


class Pipeline(Rig):
    """An installation with everything running, its settings at their defaults: tests' archives write sooner."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **{"archive_seconds": 10, **settings})

    def start_all(self) -> None:
        self.start(*ALL)
        self.start_door()
        until(lambda: {stage for stage, *_ in self._positions()} >= set(ALL), 60, self.tell)

    def through(self) -> int:
        """Events whose workflows have run, or that were sent twice: what is behind run-workflows follows at once."""
        twice = self.one("select coalesce(sum(duplicates), 0) from recorded_counts")
        return self.positions("run-workflows") + int(twice)

    def waiting(self, payload: int = 1) -> int:
        """Records that lie before stages, the archive's left out: it gathers. A payload counts as so many."""
        lag = self.lag([stage for stage in ALL if stage != "archive"])
        return sum(records * (payload if stage == "validate" else 1) for (stage, _, _), records in lag.items())


def hold(rig: Pipeline, feed: Callable[[], Feed], seconds: float, warm_up: float, payload: int = 1) -> Held:
    """As many events as go through while what waits stays below the bound; a payload counts as so many records."""
    load = HttpLoad(rig.port, CONNECTIONS, feed).start()
    try:
        _govern(rig, load, warm_up, payload)
        load.mark()
        begun, cpu, wal, disk = time.monotonic(), rig.cpu(load=load.pid), rig.wal_bytes(), rig.disk_bytes()
        before = rig.through()
        _govern(rig, load, seconds, payload)
        took, spent = time.monotonic() - begun, used(cpu, rig.cpu(load=load.pid))
        events, left = rig.through() - before, rig.waiting(payload)
        written, disk_now = rig.wal_bytes() - wal, rig.disk_bytes()
        memory = rig.memory_mb()
    finally:
        load.stop()
    rig.wait_through(120, [stage for stage in ALL if stage != "archive"])
    return Held(
        events / took,
        {name: 1e6 * one / events for name, one in spent.items()},
        written / events,
        {name: (disk_now[name] - disk[name]) / events for name in disk},
        memory,
        left,
    )


def _govern(rig: Pipeline, load: HttpLoad, seconds: float, payload: int = 1) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        load.paused.value = rig.waiting(payload) > MOST_WAITING
        time.sleep(LOOK_EVERY_S)
    load.paused.value = 0


class Latency(NamedTuple):
    """From the door's answer to the profile change on the outbound topic, in milliseconds."""

    rate: float
    probes: int
    p50_ms: float
    p99_ms: float


def latency(rig: Pipeline, rate: float, seconds: float, seed: int) -> Latency:
    """Probes beside a steady load of `rate` events/s."""
    batch = BATCH if rate >= 1000 else 1
    load = HttpLoad(rig.port, CONNECTIONS, partial(Web, seed, batch), rate).start()
    probes = _Probes(rig, f"probe-{seed}-{rate:.0f}")
    try:
        time.sleep(3)
        found = probes.send(seconds)
    finally:
        load.stop()
        probes.close()
    rig.wait_through(120, [stage for stage in ALL if stage != "archive"])
    return Latency(rate, len(found), *(1000 * found[int(share * (len(found) - 1))] for share in (0.5, 0.99)))


class _Probes:
    def __init__(self, rig: Pipeline, name: str) -> None:
        self._rig, self._name = rig, name
        self._seen: dict[str, float] = {}
        self._ending = threading.Event()
        ends = rig.ends(["profile-changes"])
        self._consumer = Consumer(
            {
                "bootstrap.servers": rig.kafka,
                "group.id": f"{rig.prefix}probes",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        self._consumer.assign(
            [TopicPartition(rig.prefix + topic, partition, end) for (topic, partition), end in ends.items()]
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        while not self._ending.is_set():
            for message in self._consumer.consume(500, 0.02):
                self._seen.setdefault(str(message.key(), "ascii"), time.monotonic())

    def send(self, seconds: float) -> list[float]:
        """Seconds from answer to outbound, sorted, of a probe each tenth of a second."""
        sent: dict[str, float] = {}
        with httpx.Client(base_url=self._rig.url, trust_env=False, timeout=30) as client:
            for number in range(int(seconds * PROBES_PER_S)):
                due = time.monotonic() + 1 / PROBES_PER_S
                event = {"id": f"{self._name}-{number}", "type": "page-view", "properties": _PROPERTIES}
                body = {"source": {"id": "web"}, "session": {"id": f"{self._name}-{number}"}, "events": [event]}
                answer = client.post("/track", content=json.dumps(body), headers={"content-type": "application/json"})
                at = time.monotonic()
                assert answer.status_code == 200, answer.text
                sent[answer.json()["profile"]["id"]] = at
                time.sleep(max(0.0, due - time.monotonic()))
        until(lambda: self._seen.keys() >= sent.keys(), 120, "probes are missing on profile-changes")
        return sorted(self._seen[profile] - at for profile, at in sent.items())

    def close(self) -> None:
        self._ending.set()
        self._reading.join()
        self._consumer.close()


_PROPERTIES = {"page": {"url": "https://shop.example/"}, "product": {"id": "sku-1", "price": 1.5}}
