"""Each stage alone, from a full topic: what one stage puts out is what the next one reads."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from confluent_kafka import Producer

from tests.bench.rig import Rig, used
from tests.bench.web import Web
from tests.kit.installation import READS

#: In the order of the data; deliver reads what segment wrote, archive what came in.
STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "segment", "deliver", "archive")
LOOK_EVERY_S = 0.02
WITHIN_S = 300.0
#: A stage that has fewer records than this before it is run, but says nothing about speed.
FEWEST = 3000


class StageFigure(NamedTuple):
    """One run of one stage. CPU in microseconds a record: of its workers, of PostgreSQL, of Kafka."""

    records: int
    records_per_s: float
    worker_us: float
    postgres_us: float
    kafka_us: float

    @property
    def cpu_us(self) -> float:
        return self.worker_us + self.postgres_us + self.kafka_us


def fill_tracks(rig: Rig, web: Web, events: int) -> None:
    """Write payloads straight to `tracks`, as high-volume producers do."""
    producer = Producer(
        {
            "bootstrap.servers": rig.kafka,
            "acks": "all",
            "linger.ms": 20,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 500_000,
        }
    )
    left = events
    while left > 0:
        payload = web.next()
        while True:
            try:
                producer.produce(f"{rig.prefix}tracks", payload.body, key=payload.key)
                break
            except BufferError:
                producer.poll(0.1)
        left -= payload.events
    assert producer.flush(60) == 0


def run_stage(rig: Rig, stage: str, workers: int = 1, until: Callable[[], bool] = lambda: True) -> StageFigure | None:
    """Start the stage, measure from its first commit to the end of its topics, stop it. None: too few records to
    measure, or too few left when measuring could begin.

    `until` says when measuring may begin at the earliest, say once all `workers` have joined.
    """
    topics = READS.get(stage) or (f"destination-{stage.removeprefix('dispatch-')}",)
    # The last offset of a topic written in transactions is the marker that ends the last of them.
    total = sum(end - (topic == "profile-changes" and end > 0) for (topic, _), end in rig.ends(topics).items())
    if not total:
        return None
    names = [f"{stage}-{number}" for number in range(workers)]
    for name in names:
        rig.start(stage, name=name)
    _wait(rig, stage, lambda done: done > 0 and until())
    first = rig.positions(stage)
    started, cpu = time.monotonic(), rig.cpu()
    _wait(rig, stage, lambda done: done >= total)
    seconds, spent = time.monotonic() - started, used(cpu, rig.cpu())
    for name in names:
        rig.stop(name)
    records = total - first
    if records < FEWEST:
        return None
    worker = sum(spent[name] for name in names)
    costs = [1e6 * one / records for one in (worker, spent["postgres"], spent["kafka"])]
    return StageFigure(records, records / seconds, *costs)


def _wait(rig: Rig, stage: str, enough: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if enough(rig.positions(stage)):
            return
        time.sleep(LOOK_EVERY_S)
    raise AssertionError(f"{stage} is not through: {rig.tell()}")


def run_stages(rig: Rig, events: int, seed: int, stages: Sequence[str] = STAGES) -> dict[str, StageFigure]:
    """Fill `tracks` and run these stages one after another."""
    fill_tracks(rig, Web(seed), events)
    return _run_each(rig, stages)


def run_merge(rig: Rig, events: int, seed: int) -> dict[str, StageFigure]:
    """merge alone, where every third event signs somebody in: in the usual mix it has too little to do."""
    fill_tracks(rig, Web(seed, merging=1 / 3), events)
    found = _run_each(rig, ("validate", "identify", "merge"))
    return {stage: figure for stage, figure in found.items() if stage == "merge"}


def run_workers(rig: Rig, events: int, seed: int, workers: int) -> StageFigure:
    """validate alone with several workers, measured from when all of them are at work."""
    fill_tracks(rig, Web(seed), events)
    figure = run_stage(rig, "validate", workers, AtWork(rig, "validate", workers))
    assert figure is not None, f"{events} events are too few to measure"
    return figure


class AtWork:
    """Whether all workers of a stage have joined and each lane has gone on since then, or has nothing left: to begin is
    not what a record costs."""

    def __init__(self, rig: Rig, stage: str, workers: int) -> None:
        self._rig, self._stage, self._workers = rig, stage, workers
        #: How far lanes were when all had joined.
        self._joined: dict[tuple[str, int], int] | None = None

    def __call__(self) -> bool:
        if self._joined is None:
            if self._rig.members([self._stage]) == {self._stage: self._workers}:
                self._joined = self._lanes()
            return False
        now, then = self._lanes(), self._joined
        return all(
            now.get(lane, 0) > then.get(lane, 0) or now.get(lane, 0) >= end - 1
            for lane, end in self._rig.ends(READS[self._stage]).items()
            if end
        )

    def _lanes(self) -> dict[tuple[str, int], int]:
        rows = self._rig.sql("select topic, partition, next_offset from stage_progress where stage = %s", self._stage)
        return {(topic, partition): offset for topic, partition, offset in rows}


def _run_each(rig: Rig, stages: Sequence[str]) -> dict[str, StageFigure]:
    found = {}
    for stage in stages:
        if (figure := run_stage(rig, stage)) is not None:
            found[stage] = figure
    return found
