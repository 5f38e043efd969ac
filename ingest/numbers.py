"""The door's own numbers for Prometheus: plain counts while requests come, made into metrics when somebody asks."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

#: Upper bounds of the histogram, in seconds.
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Numbers(Collector):
    """Counts requests by outcome, events by verdict, and how long answers took. One event loop counts."""

    def __init__(self) -> None:
        #: What alerts ask for is there from the beginning.
        self.requests: Counter[str] = Counter(accepted=0, no_acceptable_event=0, kafka_unavailable=0, overloaded=0)
        #: (source, verdict): as many as there are sources, and no more.
        self._events: Counter[tuple[str, str]] = Counter()
        self._by_bound = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0

    def count(self, source: str, accepted: int, rejected: int) -> None:
        """Kafka has so many events of a source that is defined."""
        self._events[source, "accepted"] += accepted
        if rejected:
            self._events[source, "rejected"] += rejected

    def took(self, seconds: float) -> None:
        """A payload was answered, one way or another."""
        self._by_bound[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("headwater_door_requests", "Requests by outcome", labels=["outcome"])
        for outcome, number in self.requests.items():
            requests.add_metric([outcome], number)
        events = CounterMetricFamily(
            "headwater_door_events", "Events by source and verdict", labels=["source", "verdict"]
        )
        for labels, number in self._events.items():
            events.add_metric(labels, number)
        yield from (requests, events)
        bounds = [*map(str, _BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._by_bound), strict=True))
        yield HistogramMetricFamily("headwater_door_seconds", "Time to answer a payload", buckets, self._seconds)
