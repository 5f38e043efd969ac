"""What is measured, a function each: sets up what it needs, warms up, runs, and returns medians with their spread."""

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from deploy.demo_run import SHOP
from deploy.settings import Settings
from tests.bench import automation
from tests.bench.backfill import backfill
from tests.bench.beside import TWO, Beside, Probed, beside
from tests.bench.definitions import WEB
from tests.bench.door import Door, bare_bridge, run_door, two_doors
from tests.bench.end_to_end import BATCH, Held, Pipeline, hold, latency
from tests.bench.feeds import Purchases
from tests.bench.pressed import PLACES, PressedFigure, run_pressed
from tests.bench.receiver import Receiver
from tests.bench.rig import Rig, Servers
from tests.bench.scaling import add_profiles, cost_an_event
from tests.bench.stages import STAGES, StageFigure, run_merge, run_stages, run_workers
from tests.bench.stock import compare
from tests.bench.web import Web

AnyRig = TypeVar("AnyRig", bound=Rig)
Figures = dict[str, Any]


class Plan(NamedTuple):
    """How long and how often."""

    runs: int
    door_s: float
    connections: Sequence[int]
    stage_events: int
    hold_s: float
    latency_s: float
    stock_events: int
    #: Of which the stock agent persists so many one by one, at some hundred a second.
    stock_persisted: int
    scaling_events: int
    many_profiles: int
    backfill_profiles: int


#: Of the machine that the goals were set for.
CORES = 2
DEFAULT_PARTITIONS: int = Settings.model_fields["partitions"].default
FULL = Plan(3, 10, (16, 64, 256), 100_000, 60, 30, 60_000, 20_000, 480_000, 1_000_000, 300_000)
QUICK = Plan(1, 1.2, (256,), 12_000, 5, 3, 6_000, 1_000, 0, 0, 10_000)


#: merge wants a topic of its own, archive large files.
QUICK_STAGES = tuple(stage for stage in STAGES if stage not in ("merge", "archive"))
#: What is told of single requests, by connections.
_DOOR = ("requests_per_s", "p50_ms", "p99_ms", "door_us")


class Bench:
    """The servers, and installations on them one after another."""

    def __init__(self, servers: Servers, plan: Plan, folder: Path, tell: Callable[[str], None]) -> None:
        self._servers, self.plan, self._folder, self._tell = servers, plan, folder, tell
        self._seed = 0

    def seed(self) -> int:
        self._seed += 1
        return self._seed

    @contextmanager
    def rig(self, kind: type[AnyRig], definitions: str = WEB, **settings: Any) -> Iterator[AnyRig]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        rig = kind(self._servers, folder, definitions, **settings)
        try:
            yield rig
        finally:
            rig.close()
            shutil.rmtree(folder)

    def door(self) -> Figures:
        """Requests/s with one event each, and events/s in batches of 100; beside a bare bridge, in turns. Then the same
        of two doors that share a port, unless it is to be quick."""
        most = self.plan.connections[-1]
        with self.rig(Rig) as rig, bare_bridge(rig) as bridge:
            rig.start_door()
            door = Door(rig.port, (rig.children["ingest"].pid,))
            for asked in (door, bridge):  # warms up: Kafka takes a minute to compile itself
                run_door(rig, asked, most, 1, 3 * self.plan.door_s, self.seed())
            found, bare = self._singles(rig, door, bridge)
            found |= {**self._batches(rig, door), "bare": bare}
            if self.plan is QUICK:
                return found
            self._tell("two doors on one port")
            both = two_doors(rig)
            run_door(rig, both, most, 1, self.plan.door_s, self.seed())
            return {**found, "two": {**self._singles(rig, both)[0], **self._batches(rig, both)}}

    def _singles(self, rig: Rig, *asked: Door) -> list[Figures]:
        found: list[Figures] = [{name: {} for name in _DOOR} for _ in asked]
        for connections in self.plan.connections:
            self._tell(f"door: one event a request, {connections} connections")
            turns = [
                [run_door(rig, one, connections, 1, self.plan.door_s, self.seed()) for one in asked]
                for _ in range(self.plan.runs)
            ]
            for figures, runs in zip(found, zip(*turns, strict=True), strict=True):
                for name in _DOOR:
                    figures[name][str(connections)] = middle([getattr(one, name) for one in runs])
        return found

    def _batches(self, rig: Rig, door: Door) -> Figures:
        self._tell("door: batches of 100")
        runs = [run_door(rig, door, 16, 100, self.plan.door_s, self.seed()) for _ in range(self.plan.runs)]
        return {
            "batch_events_per_s": middle([one.events_per_s for one in runs]),
            "batch_p99_ms": middle([one.p99_ms for one in runs]),
            "refused": sum(one.refused for one in runs),
        }

    def pressed(self) -> Figures:
        """The door paced, beside slow clients, and with more clients than places."""
        runs = []
        for number in range(self.plan.runs):
            self._tell(f"the door under pressure: run {number + 1} of {self.plan.runs}")
            with self.rig(Rig, max_in_flight=PLACES) as rig:
                rig.start_door()
                runs.append(run_pressed(rig, self.plan.door_s, self.seed()))
        return {name: middle([getattr(run, name) for run in runs]) for name in PressedFigure._fields}

    def stages(self) -> Figures:
        """Every stage alone, from a full topic; merge from one of its own."""
        runs: dict[str, list[StageFigure]] = {}
        for number in range(self.plan.runs):
            self._tell(f"stages: run {number + 1} of {self.plan.runs}, {self.plan.stage_events:,} events")
            measured = [partial(run_stages, events=self.plan.stage_events, stages=QUICK_STAGES)]
            if self.plan is not QUICK:
                measured = [
                    partial(run_stages, events=self.plan.stage_events),
                    partial(run_merge, events=self.plan.stage_events),
                ]
            for run in measured:
                with self.rig(Rig) as rig:
                    for stage, figure in run(rig, seed=self.seed()).items():
                        runs.setdefault(stage, []).append(figure)
        return {
            stage: {
                "records": figures[0].records,
                **{name: middle([getattr(figure, name) for figure in figures]) for name in _STAGE},
            }
            for stage, figures in runs.items()
        }

    def workers(self) -> Figures:
        """One stage, validate, with several workers: what it puts through, beside `stages`, where it has one."""
        runs = []
        for number in range(self.plan.runs):
            self._tell(f"{CORES} workers of validate: run {number + 1} of {self.plan.runs}")
            with self.rig(Rig) as rig:
                runs.append(run_workers(rig, self.plan.stage_events * 2, self.seed(), CORES))
        return {"workers": CORES, **{name: middle([getattr(run, name) for run in runs]) for name in _STAGE}}

    def automation(self) -> Figures:
        """Workflow runs of five nodes, and deliveries to a webhook, a second."""
        runs: dict[str, list[StageFigure]] = {}
        for number in range(self.plan.runs):
            self._tell(f"workflows and dispatch: run {number + 1} of {self.plan.runs}")
            receiver = Receiver()
            try:
                with self.rig(Rig, automation.FIVE_NODES.replace("URL", receiver.url)) as rig:
                    found = automation.measure(rig, self.plan.stage_events // 2, self.seed())
            finally:
                receiver.close()
            for name, figure in found._asdict().items():
                if figure is not None:
                    runs.setdefault(name, []).append(figure)
        return {
            name: {what: middle([getattr(figure, what) for figure in figures]) for what in _STAGE}
            for name, figures in runs.items()
        }

    def destinations(self) -> Figures:
        """Latencies to a destination beside another one that answers, and that does not."""
        found: dict[str, list[Beside]] = {}
        for number in range(self.plan.runs):
            self._tell(f"destinations beside a dead one: run {number + 1} of {self.plan.runs}")
            probed, other = Probed(), Receiver()
            try:
                definitions = TWO.replace("WELL", probed.url).replace("OTHER", other.url)
                with self.rig(Pipeline, definitions, partitions=CORES) as rig:
                    for name, figure in beside(rig, probed, other, self.plan.latency_s, self.seed()).items():
                        found.setdefault(name, []).append(figure)
            finally:
                probed.close()
        return {
            name: {what: middle([getattr(figure, what) for figure in figures]) for what in ("p50_ms", "p99_ms")}
            for name, figures in found.items()
        }

    def end_to_end(self) -> Figures:
        """The highest rate that is held, and latencies at half of it and at 100 events/s: with a partition for each of
        the workers, of which there is one a stage; unless it is to be quick, also in payloads of 100 events instead of
        10, with as many partitions as topics get by default, and of CDNOW's purchases."""
        runs, found = self._whole_way(1, self.plan.runs)
        more = {} if self.plan is QUICK else {**self._in_hundreds(), "cdnow_events_per_s": self._cdnow()}
        more |= {} if self.plan is QUICK else self._with_usual_partitions()
        names = runs[0].cpu_us
        return {
            "events_per_s": middle([run.events_per_s for run in runs]),
            "cpu_us": {name: middle([run.cpu_us[name] for run in runs]) for name in names},
            "cpu_us_total": middle([sum(run.cpu_us.values()) for run in runs]),
            "wal_bytes": middle([run.wal_bytes for run in runs]),
            "disk_bytes": {name: middle([run.disk_bytes[name] for run in runs]) for name in runs[0].disk_bytes},
            "memory_mb": {name: middle([run.memory_mb[name] for run in runs]) for name in runs[0].memory_mb},
            **found,
            **more,
        }

    def _in_hundreds(self) -> Figures:
        with self.rig(Pipeline, partitions=1) as rig:
            rig.start_all()
            runs = self._held(rig, 100, self.plan.runs)
        return {
            "in_hundreds": {
                "events_per_s": middle([run.events_per_s for run in runs]),
                "cpu_us_total": middle([sum(run.cpu_us.values()) for run in runs]),
                "cpu_us": {name: middle([run.cpu_us[name] for run in runs]) for name in runs[0].cpu_us},
            }
        }

    def _cdnow(self) -> int:
        self._tell("end to end: the purchases of CDNOW")
        with self.rig(Pipeline, (SHOP / "shop.yaml").read_text(), partitions=1) as rig:
            rig.start_all()
            return round(hold(rig, Purchases, self.plan.hold_s / 2, 5.0).events_per_s)

    def _with_usual_partitions(self) -> Figures:
        held, latencies = self._whole_way(DEFAULT_PARTITIONS, 1)
        return {f"with_{DEFAULT_PARTITIONS}_partitions": {"events_per_s": round(held[0].events_per_s), **latencies}}

    def _held(self, rig: Pipeline, batch: int, times: int) -> list[Held]:
        """Spans at the highest rate, in payloads of so many events."""
        runs: list[Held] = []
        for number in range(times):
            self._tell(f"end to end, {rig.partitions} partitions, payloads of {batch}: run {number + 1} of {times}")
            feed = partial(Web, self.seed(), batch)
            # Kafka compiles itself in its first minute.
            warm_up_s = min(10.0, self.plan.hold_s) if runs else self.plan.hold_s
            runs.append(hold(rig, feed, self.plan.hold_s, warm_up_s, batch // BATCH))
            self._tell(f"  {runs[-1].events_per_s:,.0f} events/s")
        return runs

    def _whole_way(self, partitions: int, times: int) -> tuple[list[Held], Figures]:
        """Spans at the highest rate, and latencies below it."""
        # In each span at least one file is written.
        with self.rig(Pipeline, partitions=partitions, archive_seconds=min(10, int(self.plan.hold_s / 2))) as rig:
            rig.start_all()
            runs = self._held(rig, BATCH, times)
            half = statistics.median(run.events_per_s for run in runs) / 2
            self._tell("end to end: latencies")
            return runs, {
                name: {"rate": round(found.rate), "p50_ms": round(found.p50_ms), "p99_ms": round(found.p99_ms)}
                for name, rate in (("at_half", half), ("at_100", 100))
                for found in [latency(rig, rate, self.plan.latency_s, self.seed())]
            }

    def stock(self) -> Figures:
        """The runner over a stock Faust agent doing the same step."""
        found: dict[str, list[tuple[float, float, float]]] = {}
        for number in range(self.plan.runs):
            self._tell(f"stock Faust: run {number + 1} of {self.plan.runs}")
            with self.rig(Rig) as rig:
                runner, stock = compare(rig, self.plan.stock_events, self.plan.stock_persisted, self.seed())
            for (step, mode), figure in stock.items():
                ours = runner[step].records_per_s
                found.setdefault(f"{step}, {mode}", []).append(
                    (ours / figure.records_per_s, ours, figure.records_per_s)
                )
        return {
            name: dict(
                zip(
                    ("ratio", "runner_per_s", "stock_per_s"),
                    (middle(list(one)) for one in zip(*runs, strict=True)),
                    strict=True,
                )
            )
            for name, runs in found.items()
        }

    def backfill(self) -> Figures:
        """Profiles/s for which a new segment is evaluated."""
        rates = []
        for number in range(self.plan.runs):
            self._tell(f"back-fill: run {number + 1} of {self.plan.runs}")
            with self.rig(Rig, partitions=CORES) as rig:
                rates.append(backfill(rig, self.plan.backfill_profiles))
        return {"profiles_per_s": middle(rates)}

    def scaling(self) -> Figures:
        """CPU an event against workers, partitions and profiles."""
        events, found = self.plan.scaling_events, dict[str, float]()
        if not events:
            return {}
        self._tell("scaling: warming up")  # Kafka's compiler, above all
        with self.rig(Rig) as rig:
            cost_an_event(rig, events // 2, self.seed(), self._tell)
        for name, partitions, workers in (
            ("4 partitions", 4, 1),
            ("32 partitions", 32, 1),
            ("32 partitions, 4 workers", 32, 4),
        ):
            self._tell(f"scaling: {name}")
            with self.rig(Rig, partitions=partitions) as rig:
                found[name] = round(cost_an_event(rig, events, self.seed(), self._tell, workers), 1)
        few, many = 10_000, self.plan.many_profiles
        for name, profiles, visitors in (
            (f"{few:,} profiles", few, few),
            (f"{many:,} profiles, {few:,} of them come", many, few),
            (f"{many:,} profiles", many, many),
        ):
            self._tell(f"scaling: {name}")
            with self.rig(Rig) as rig:
                add_profiles(rig, profiles)
                found[name] = round(cost_an_event(rig, events, self.seed(), self._tell, visitors=visitors), 1)
        return found


_STAGE = ("records_per_s", "cpu_us", "worker_us", "postgres_us", "kafka_us")


def middle(values: Sequence[float]) -> Figures:
    """The median of runs, and the lowest and highest of them."""
    return {"median": _short(statistics.median(values)), "low": _short(min(values)), "high": _short(max(values))}


def _short(value: float) -> float:
    return round(value) if abs(value) >= 100 else round(value, 2)
