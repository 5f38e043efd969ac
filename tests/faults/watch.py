"""Samples a running installation three times a second: where each lane stands, what is recorded, memory."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import psutil  # type: ignore[import-untyped]
import psycopg
from confluent_kafka import KafkaException

#: (stage, topic, partition)
Lane = tuple[str, str, int]
Ends = Mapping[tuple[str, int], int]
EVERY_S = 0.33
MEMORY_EVERY_S = 3.0
STALE_S = 5.0
#: How memory grows is looked at from this age of a process on, in lives of at least so many minutes, that are at least
#: so many together: in a few minutes a cache that fills, or one larger batch, looks like a leak.
WARM_S = 120.0
WARM_MIN = 5.0
JUDGED_MIN = 15.0


@dataclass(frozen=True)
class Sample:
    """One look. `ends` counts what is to be processed: markers of transactions are not."""

    at: float
    positions: Mapping[Lane, int]
    ends: Ends
    recorded: int

    def waiting(self, lane: Lane) -> int:
        return max(0, self.ends.get(lane[1:], 0) - self.positions.get(lane, 0))


@dataclass(frozen=True)
class Mark:
    """A moment, and what was done by then."""

    at: float
    positions: Mapping[Lane, int]
    recorded: int


@dataclass
class Recovery:
    """How a stage went on: lanes that had something to do, the slowest's seconds, whether one never did."""

    lanes: int = 0
    took_s: float = 0.0
    stuck: bool = False


class Watch:
    """A thread that never fails: while Kafka or PostgreSQL is away there are no samples."""

    def __init__(self, url: str, ends: Callable[[], Ends], processes: Callable[[], Mapping[str, int]]) -> None:
        """`url` is the database's; `ends` and `processes` (name to process id) are asked again and again."""
        self._url, self._ends, self._processes = url, ends, processes
        self._connection: psycopg.Connection | None = None
        self._stop = threading.Event()
        self._known_ends: Ends = {}
        self.samples: list[Sample] = []
        #: Name and process id to (time, age of the process, bytes, open files).
        self.memory: dict[tuple[str, int], list[tuple[float, float, int, int]]] = defaultdict(list)
        # Kafka is asked on a thread of its own: while it does not answer, PostgreSQL is looked at all the same.
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._run, self._run_ends)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._connection is not None:
            self._connection.close()

    @property
    def recorded(self) -> int:
        """Events recorded, as of the last look."""
        return self.samples[-1].recorded if self.samples else 0

    def backlog(self) -> int:
        """Records before the stages that all events pass, as of the last look; payloads count as ten. 0 where that was
        long ago: the load must not wait for whoever cannot look."""
        if not self.samples or time.monotonic() - self.samples[-1].at > STALE_S:
            return 0
        sample = self.samples[-1]
        weights = {"validate": 10, "identify": 1, "persist": 1, "route": 1, "run-workflows": 1, "segment": 1}
        return sum(sample.waiting(lane) * weights.get(lane[0], 0) for lane in sample.positions)

    def mark(self) -> "Mark":
        """The present as a moment to count from: to be taken when a fault is there (a process is dead), or mended.

        Reads PostgreSQL itself, and waits while it does not answer: what is done later than this is new.
        """
        at = time.monotonic()
        while True:
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=3) as connection:
                    return Mark(at, *_positions_and_recorded(connection))
            except psycopg.Error:
                if time.monotonic() - at > 60:
                    raise
                time.sleep(0.1)

    def recovery(self, stage: str, mark: "Mark", until: float | None = None) -> "Recovery":
        """How each lane of the stage went on after the mark, where work waited; before `until`, or the last sample."""
        found = Recovery()
        after = [one for one in self.samples if one.at >= mark.at and (until is None or one.at < until)]
        for lane, base in mark.positions.items():
            if lane[0] != stage:
                continue
            moved = next((one.at for one in after if one.positions.get(lane, 0) > base), None)
            waited = next((one.at for one in after if one.waiting(lane)), None)
            if moved is None and waited is None:
                continue  # there was nothing to do
            found.lanes += 1
            if moved is None:
                found.stuck = True
            else:
                # Time in which nothing waited does not count.
                found.took_s = max(found.took_s, moved - min(moved, max(waited or moved, mark.at)))
        return found

    def first_recorded(self, mark: "Mark") -> float | None:
        """Seconds from the mark to the first newly recorded event; None where there was none."""
        later = (one.at - mark.at for one in self.samples if one.at > mark.at and one.recorded > mark.recorded)
        return next(later, None)

    def largest_step(self, stage: str) -> int:
        """The most records that a lane of the stage went on by between two looks: no batch was larger."""
        steps = [
            later.positions.get(lane, 0) - earlier.positions.get(lane, 0)
            for earlier, later in pairwise(self.samples)
            for lane in later.positions
            if lane[0] == stage
        ]
        return max(steps, default=0)

    def recorded_between(self, start: float, end: float) -> int:
        """How many events were recorded in this time."""
        found = [sample.recorded for sample in self.samples if start <= sample.at <= end]
        return found[-1] - found[0] if found else 0

    def peak_mb(self) -> dict[str, float]:
        """The most memory that a process of each name had."""
        found: dict[str, float] = {}
        for (name, _), rows in self.memory.items():
            found[name] = max([found.get(name, 0.0), *(size / 1e6 for _, _, size, _ in rows)])
        return found

    def growth(self) -> tuple[float, float, str]:
        """How fast memory grows, in MB a minute, how many minutes of processes say so, and whose it is: a line through
        what each process had once it was warm, of the name that grows fastest."""
        slopes, minutes = [(0.0, "none")], 0.0
        for name in {name for name, _ in self.memory}:
            lives = [_warm(rows) for (other, _), rows in self.memory.items() if other == name]
            lives = [life for life in lives if len(life) > 1 and life[-1][0] - life[0][0] >= WARM_MIN]
            spans = [life[-1][0] - life[0][0] for life in lives]
            minutes += sum(spans)
            if sum(spans) >= JUDGED_MIN:
                slope = sum(_slope(life) * span for life, span in zip(lives, spans, strict=True)) / sum(spans)
                slopes.append((slope, name))
        fastest, name = max(slopes)
        return fastest, minutes, name

    def most_files(self) -> tuple[int, str]:
        """The most open files that a process had, and whose it was."""
        seen = ((files, name) for (name, _), rows in self.memory.items() for *_, files in rows)
        return max(seen, default=(0, "none"))

    def _run(self) -> None:
        memory_due = 0.0
        while not self._stop.wait(EVERY_S):
            try:
                self.samples.append(self._look())
            except (psycopg.Error, OSError):
                self._connection = None  # away; the next look tries again
            if time.monotonic() >= memory_due:
                memory_due = time.monotonic() + MEMORY_EVERY_S
                self._weigh()

    def _look(self) -> Sample:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=3)
        positions, recorded = _positions_and_recorded(self._connection)
        return Sample(time.monotonic(), positions, self._known_ends, recorded)

    def _run_ends(self) -> None:
        while not self._stop.wait(EVERY_S):
            with suppress(KafkaException, KeyError, TimeoutError):  # away; the next look tries again
                self._known_ends = {place: end - (place[0] == "profile-changes") for place, end in self._ends().items()}

    def _weigh(self) -> None:
        for name, pid in self._processes().items():
            try:
                process = psutil.Process(pid)
                age = time.time() - process.create_time()
                size = process.memory_info().rss + sum(child.memory_info().rss for child in process.children())
                self.memory[name, pid].append((time.monotonic(), age, size, process.num_fds()))
            except psutil.Error:
                continue


def _positions_and_recorded(connection: psycopg.Connection) -> tuple[dict[Lane, int], int]:
    rows = connection.execute("select stage, topic, partition, next_offset from stage_progress").fetchall()
    recorded = connection.execute("select coalesce(sum(recorded), 0)::bigint from recorded_counts").fetchone()
    return {(stage, topic, partition): offset for stage, topic, partition, offset in rows}, (recorded or (0,))[0]


def _warm(rows: list[tuple[float, float, int, int]]) -> list[tuple[float, float]]:
    """(minute, MB) of a process that has settled."""
    return [(at / 60, size / 1e6) for at, age, size, _ in rows if age > WARM_S]


def _slope(points: list[tuple[float, float]]) -> float:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
