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
        self.events: Counter[str] = Counter(accepted=0, rejected=0)
        self._by_bound = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0

    def took(self, seconds: float) -> None:
        """A payload was answered, one way or another."""
        self._by_bound[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        for name, help, label, counts in (
            ("requests", "Requests by outcome", "outcome", self.requests),
            ("events", "Events by verdict", "verdict", self.events),
        ):
            family = CounterMetricFamily(f"headwater_door_{name}", help, labels=[label])
            for value, count in counts.items():
                family.add_metric([value], count)
            yield family
        bounds = [*map(str, _BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._by_bound), strict=True))
        yield HistogramMetricFamily("headwater_door_seconds", "Time to answer a payload", buckets, self._seconds)
