"""`/metrics` of the whole pipeline, for Prometheus: what `headwater status` says, read anew at each scrape.

The numbers come from PostgreSQL and Kafka, not from the workers: a stage that does not run at all is seen here too.
deploy/alerts/headwater.rules.yaml has the alerts that go with them.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

import psycopg
from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from deploy.kafka import kafka_admin
from deploy.operations.measures import Measured
from deploy.operations.status import Accounting, StageStatus, Status, read_status
from deploy.settings import Settings
from processors.storage.definitions import DefinitionStore

#: Sources that are not defined share one label: who sends must not be able to make labels.
UNKNOWN = "(unknown)"
_OUTCOMES = ("accepted", "recorded", "duplicates", "id_reused", "rejected", "dead_letters", "dropped", "under_way")


class PipelineCollector(Collector):
    """Asks for the installation's status at each scrape."""

    def __init__(self, read: Callable[[], tuple[Status, set[str]]]) -> None:
        """`read` gives the status and the names of the defined sources; it may raise psycopg's or Kafka's errors."""
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking for it would ask the installation."""
        return ()

    def collect(self) -> Iterator[Metric]:
        try:
            status, sources = self._read()
        except (psycopg.Error, KafkaException, TimeoutError):
            yield _readable(0)
            return
        yield _readable(1)
        yield from _of_stages(status.stages)
        yield _of_sources(status.sources, sources)
        yield GaugeMetricFamily("headwater_profiles", "Live profiles", status.profiles)
        yield from _of_windows(status.measured)
        yield GaugeMetricFamily("headwater_waiting_runs", "Workflow runs that wait", status.waiting.runs)
        yield GaugeMetricFamily("headwater_calls", "Calls that workflow runs wait for", status.waiting.calls)
        yield GaugeMetricFamily("headwater_calls_failing", "Of them, tried again", status.waiting.failing)
        yield GaugeMetricFamily(
            "headwater_calls_overdue_seconds", "Since the oldest was to be made", status.waiting.oldest_s or 0
        )


def _of_windows(measured: Sequence[Measured]) -> Iterator[Metric]:
    for name, help in (
        ("events", "Events in the last window that is over"),
        ("sum", "Their sum"),
        ("people", "Different people"),
    ):
        family = GaugeMetricFamily(f"headwater_window_{name}", help, labels=["metric", "value"])
        for one in measured:
            family.add_metric([one.metric, one.value], getattr(one, name))
        yield family


def serve_metrics(settings: Settings) -> int:
    """Serve /metrics on a thread, as long as the process lives; the port. Raises OSError where it is taken."""
    admin = kafka_admin(settings)

    async def read() -> tuple[Status, set[str]]:
        async with await psycopg.AsyncConnection.connect(
            settings.database_url, autocommit=True, connect_timeout=5, options="-c statement_timeout=20s"
        ) as connection:
            definitions = await DefinitionStore(connection).current()
            sources = {key.removeprefix("source/") for key in definitions if key.startswith("source/")}
            return await read_status(connection, admin), sources

    registry = CollectorRegistry()
    registry.register(PipelineCollector(lambda: asyncio.run(read())))
    server, _ = start_http_server(settings.metrics_port, settings.http_host, registry)
    return server.server_port


def _readable(value: int) -> Metric:
    return GaugeMetricFamily("headwater_readable", "Whether PostgreSQL and Kafka could be asked: 1 or 0", value)


def _of_stages(stages: list[StageStatus]) -> Iterator[Metric]:
    gauges: tuple[tuple[str, str, Callable[[StageStatus], float | None]], ...] = (
        ("lag_records", "Records that a stage has still to process", lambda s: s.lag),
        ("oldest_waiting_seconds", "How long the oldest of them has waited", _oldest),
        ("idle_seconds", "Time since a lane of the stage stored a position", lambda s: s.idle_s),
        ("lanes_stopped", "Lanes that stand still until somebody looks", lambda s: len(s.stopped)),
        ("open_dead_letters", "Dead letters that were neither replayed nor dropped", lambda s: s.dead_letters),
    )
    counters: tuple[tuple[str, str, Callable[[StageStatus], float]], ...] = (
        ("processed_records", "Records processed", lambda s: s.processed),
        ("dead_letters", "Dead letters so far", lambda s: s.dead_letters_ever),
        ("redelivered_records", "Records that came again, and outputs sent again", lambda s: s.redelivered),
        ("fenced_lanes", "Lanes that another worker shut out", lambda s: s.fenced),
    )
    for name, help, gauge in gauges:
        family: Metric = GaugeMetricFamily(f"headwater_{name}", help, labels=["stage"])
        for stage in stages:
            if (value := gauge(stage)) is not None:
                family.add_sample(family.name, {"stage": stage.stage}, value)
        yield family
    for name, help, counter in counters:
        family = CounterMetricFamily(f"headwater_{name}", help, labels=["stage"])
        for stage in stages:
            family.add_sample(f"{family.name}_total", {"stage": stage.stage}, counter(stage))
        yield family
    retries = CounterMetricFamily("headwater_retries", "Batches tried again, by cause", labels=["stage", "cause"])
    for stage in stages:
        for cause, count in stage.retries.items():
            retries.add_metric([stage.stage, cause], count)
    yield retries


def _oldest(stage: StageStatus) -> float | None:
    """0 where nothing waits; nothing where Kafka did not say in time."""
    return 0.0 if stage.lag == 0 else stage.oldest_s


def _of_sources(found: list[Accounting], defined: set[str]) -> Metric:
    """accepted = recorded + duplicates + rejected + dead_letters + dropped + under_way, per source."""
    sums: dict[tuple[str, str], int] = {}
    for source in found:
        name = source.source if source.source in defined else UNKNOWN
        for outcome in _OUTCOMES:
            sums[name, outcome] = sums.get((name, outcome), 0) + getattr(source, outcome)
    family = GaugeMetricFamily("headwater_events", "Events by what became of them", labels=["source", "outcome"])
    for labels, count in sums.items():
        family.add_metric(labels, count)
    return family
