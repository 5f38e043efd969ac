"""The door's own numbers for Prometheus: plain counts while requests come, made into metrics when somebody asks."""

import os
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from operator import add
from pathlib import Path

import msgspec
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

#: Upper bounds of the histogram, in seconds.
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: What files of numbers are called.
SUFFIX = ".numbers"


def _none_yet() -> Counter[str]:
    """What alerts ask for is there from the beginning."""
    return Counter(accepted=0, no_acceptable_event=0, kafka_unavailable=0, overloaded=0)


class Counted(msgspec.Struct):
    """What doors have counted."""

    requests: dict[str, int] = msgspec.field(default_factory=_none_yet)
    #: (source, verdict): as many as there are sources, and no more.
    events: dict[tuple[str, str], int] = msgspec.field(default_factory=Counter)
    by_bound: list[int] = msgspec.field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """What was read becomes what counts."""
        self.requests, self.events = Counter(self.requests), Counter(self.events)

    def add(self, other: "Counted") -> None:
        """Count what another door has counted too."""
        self.requests.update(other.requests)
        self.events.update(other.events)
        self.by_bound = list(map(add, self.by_bound, other.by_bound))
        self.seconds += other.seconds


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Counted).decode


class Numbers(Collector):
    """Counts requests by outcome, events by verdict, and how long answers took. One event loop counts.

    Doors that share a port are asked one at a time, and not by choice: each keeps its numbers in a file, and whoever is
    asked adds up the files of their folder. All come from there, the own ones too, so that a sum never falls.
    """

    def __init__(self, file: Path | None = None) -> None:
        """`file`, of this door alone, where it shares its port; it goes on from what is in it. Raises OSError where its
        folder cannot be there."""
        self._file, self._mine, self._writing = file, Counted(), threading.Lock()
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._mine = _kept(file)
        self.requests = self._mine.requests

    @property
    def shared(self) -> bool:
        """Whether they are added up from files; then from any thread."""
        return self._file is not None

    def count(self, source: str, accepted: int, rejected: int) -> None:
        """Kafka has so many events of a source that is defined."""
        self._mine.events[source, "accepted"] += accepted
        if rejected:
            self._mine.events[source, "rejected"] += rejected

    def took(self, seconds: float) -> None:
        """A payload was answered, one way or another."""
        self._mine.by_bound[bisect_left(_BOUNDS, seconds)] += 1
        self._mine.seconds += seconds

    def keep(self) -> None:
        """Into the file, if there is one; from any thread. Raises OSError, after which it can be tried again."""
        if self._file is None:
            return
        new = self._file.with_suffix(".new")
        with self._writing:
            new.write_bytes(_encode(self._mine))
            os.replace(new, self._file)

    def _all(self) -> Counted:
        if self._file is None:
            return self._mine
        self.keep()
        total = Counted()
        for file in sorted(self._file.parent.glob(f"*{SUFFIX}")):  # in one order: seconds are rounded as they are added
            total.add(_kept(file))
        return total

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking for it would read the files."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Raises OSError where the numbers of all doors cannot be had: better none than some, that fall."""
        counted = self._all()
        requests = CounterMetricFamily("headwater_door_requests", "Requests by outcome", labels=["outcome"])
        for outcome, number in counted.requests.items():
            requests.add_metric([outcome], number)
        events = CounterMetricFamily(
            "headwater_door_events", "Events by source and verdict", labels=["source", "verdict"]
        )
        for labels, number in counted.events.items():
            events.add_metric(labels, number)
        yield from (requests, events)
        bounds = [*map(str, _BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(counted.by_bound), strict=True))
        yield HistogramMetricFamily("headwater_door_seconds", "Time to answer a payload", buckets, counted.seconds)


def _kept(file: Path) -> Counted:
    """What is in a file; nothing where it is not there, or cut short, as a machine leaves it that lost its power."""
    try:
        counted = _decode(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return Counted()
    return counted if len(counted.by_bound) == len(_BOUNDS) + 1 else Counted()
