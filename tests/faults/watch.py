"""Samples a running installation three times a second: where each lane stands, what is recorded, memory."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]
import psycopg
from confluent_kafka import KafkaException

#: (stage, topic, partition)
Lane = tuple[str, str, int]
Ends = Mapping[tuple[str, int], int]
EVERY_S = 0.33
MEMORY_EVERY_S = 3.0
#: The memory of a process is looked at from this age on.
WARM_S = 20.0


@dataclass(frozen=True)
class Sample:
    """One look. `ends` counts what is to be processed: markers of transactions are not."""

    at: float
    positions: Mapping[Lane, int]
    ends: Ends
    recorded: int

    def waiting(self, lane: Lane) -> int:
        return max(0, self.ends.get(lane[1:], 0) - self.positions.get(lane, 0))


class Watch:
    """A thread that never fails: while Kafka or PostgreSQL is away there are no samples."""

    def __init__(self, url: str, ends: Callable[[], Ends], processes: Callable[[], Mapping[str, int]]) -> None:
        """`url` is the database's; `ends` and `processes` (name to process id) are asked again and again."""
        self._url, self._ends, self._processes = url, ends, processes
        self._connection: psycopg.Connection | None = None
        self._stop = threading.Event()
        self.samples: list[Sample] = []
        #: Name to (time, age of the process, bytes).
        self.memory: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        self._thread = threading.Thread(target=self._run, name="watch")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    @property
    def recorded(self) -> int:
        """Events recorded, as of the last look."""
        return self.samples[-1].recorded if self.samples else 0

    def backlog(self) -> int:
        """Records before the stages that all events pass, as of the last look; payloads count as ten."""
        if not self.samples:
            return 0
        sample = self.samples[-1]
        weights = {"validate": 10, "identify": 1, "persist": 1, "route": 1, "run-workflows": 1, "segment": 1}
        return sum(sample.waiting(lane) * weights.get(lane[0], 0) for lane in sample.positions)

    def recovery(self, stage: str, since: float, until: float | None = None) -> float | None:
        """Seconds until every lane of the stage went on after `since`, where work waited; the slowest lane's.

        None where one did not before `until` (or the last sample). Time in which nothing waited does not count.
        """
        found = 0.0
        after = [sample for sample in self.samples if sample.at >= since and (until is None or sample.at < until)]
        before = [sample for sample in self.samples if sample.at < since][-1:]
        for lane in (before or after[:1])[0].positions if after else ():
            if lane[0] != stage:
                continue
            base = (before or after)[0].positions[lane]
            moved = next((sample.at for sample in after if sample.positions.get(lane, 0) > base), None)
            waited = next((sample.at for sample in after if sample.waiting(lane)), None)
            if waited is not None and (moved is None or waited < moved):
                if moved is None:
                    return None
                found = max(found, moved - waited)
        return found

    def first_recorded(self, since: float) -> float | None:
        """Seconds from then to the first newly recorded event; None where there was none."""
        before = [sample.recorded for sample in self.samples if sample.at <= since]
        base = before[-1] if before else 0
        return next((one.at - since for one in self.samples if one.at > since and one.recorded > base), None)

    def recorded_between(self, start: float, end: float) -> int:
        """How many events were recorded in this time."""
        found = [sample.recorded for sample in self.samples if start <= sample.at <= end]
        return found[-1] - found[0] if found else 0

    def peak_mb(self) -> dict[str, float]:
        """The most memory that a process of each name had."""
        return {name: max(size for _, _, size in rows) / 1e6 for name, rows in self.memory.items() if rows}

    def growth_mb_per_minute(self) -> float:
        """How fast memory grows, of the name whose processes grow fastest: a line through what warm ones had."""
        slopes = [0.0]
        for rows in self.memory.values():
            warm = [(at / 60, size / 1e6) for at, age, size in rows if age > WARM_S]
            if len(warm) > 20:
                slopes.append(_slope(warm))
        return max(slopes)

    def _run(self) -> None:
        memory_due = 0.0
        while not self._stop.wait(EVERY_S):
            try:
                self.samples.append(self._look())
            except (psycopg.Error, KafkaException, OSError, AssertionError, KeyError, TimeoutError):
                self._connection = None
            if time.monotonic() >= memory_due:
                memory_due = time.monotonic() + MEMORY_EVERY_S
                self._weigh()

    def _look(self) -> Sample:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=3)
        rows = self._connection.execute("select stage, topic, partition, next_offset from stage_progress").fetchall()
        recorded = self._connection.execute("select coalesce(sum(recorded), 0) from recorded_counts").fetchone()
        ends = {place: end - (place[0] == "profile-changes") for place, end in self._ends().items()}
        positions = {(stage, topic, partition): offset for stage, topic, partition, offset in rows}
        return Sample(time.monotonic(), positions, ends, int(recorded[0]) if recorded else 0)

    def _weigh(self) -> None:
        for name, pid in self._processes().items():
            try:
                process = psutil.Process(pid)
                age = time.time() - process.create_time()
                size = process.memory_info().rss + sum(child.memory_info().rss for child in process.children())
            except psutil.Error:
                continue
            self.memory[name].append((time.monotonic(), age, size))


def _slope(points: list[tuple[float, float]]) -> float:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
