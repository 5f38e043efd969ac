"""X1: half an hour of load, and every few seconds something else breaks, at random."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.brokers import ProxiedServices
from tests.faults.cluster import STAGES, Cluster
from tests.faults.row import Row
from tests.faults.trial import POSTGRES_BACK_S, WORKER_BACK_S, Trial, judge_return

#: After a fault is mended there is quiet for so long.
QUIET_S = (0.5, 3.0)
#: One worker of these is left alone, so that it can be seen whether memory grows with time.
SPARED = ("validate", "identify", "persist", "run-workflows", "segment", "dispatch-hook")
#: Memory may grow by this much, in MB a minute.
MAX_GROWTH = 1.0
MAX_FILES = 200


@dataclass
class Soak:
    """The run, and what its faults share."""

    cluster: Cluster
    services: ProxiedServices
    chance: random.Random
    row: Row

    def kill_worker(self) -> None:
        stage = self.chance.choice(STAGES)
        self.cluster.kill_worker(stage)
        killed = self.cluster.watch.mark()
        time.sleep(self.chance.uniform(0, 2))
        self.cluster.start_again(stage)
        self.judge = lambda: judge_return(self.row, self.cluster, stage, killed)

    def freeze_worker(self) -> None:
        stage = self.chance.choice(STAGES)
        self.cluster.pause(stage)
        time.sleep(self.chance.choice((1, 3, 14)))
        self.cluster.resume(stage)

    def stop_worker(self) -> None:
        stage = self.chance.choice(STAGES)
        # One that was told to stop before it had begun ends by the signal itself.
        if (code := self.cluster.children[stage].terminate(30)) not in (0, -signal.SIGTERM):
            self.row.violate("died", f"{stage} ended with {code} when it was stopped")
        self.cluster.start_again(stage)

    def kill_door(self) -> None:
        self.cluster.kill("ingest")
        self.cluster.start_again("ingest")
        self.cluster.wait_ready()

    def kill_postgres(self) -> None:
        self.services.postgres.kill()
        time.sleep(self.chance.uniform(0, 5))
        self.services.postgres.start()
        self._postgres_is_back()

    def restart_postgres(self) -> None:
        self.services.postgres.stop()
        self.services.postgres.start()
        self._postgres_is_back()

    def kill_kafka(self) -> None:
        self.services.kafka.kill()
        time.sleep(self.chance.uniform(0, 5))
        self.services.kafka.start()

    def freeze_kafka(self) -> None:
        self.services.kafka.pause()
        time.sleep(self.chance.uniform(1, 8))
        self.services.kafka.resume()

    def cut_postgres(self) -> None:
        self.services.to_postgres.cut()

    def hide_postgres(self) -> None:
        self.services.to_postgres.manner = "blackhole"
        time.sleep(self.chance.uniform(1, 10))
        self.services.to_postgres.manner = "pass"
        self.services.to_postgres.cut()

    def cut_kafka(self) -> None:
        self.services.kafka.proxy.cut()

    def lose_answers(self) -> None:
        self.services.kafka.proxy.manner = "swallow"
        time.sleep(self.chance.uniform(1, 5))
        self.services.kafka.proxy.manner = "pass"
        self.services.kafka.proxy.cut()

    def slow_network(self) -> None:
        self.services.kafka.proxy.latency_s = self.services.to_postgres.latency_s = 0.02
        time.sleep(5)
        self.services.kafka.proxy.latency_s = self.services.to_postgres.latency_s = 0.0

    def trouble_destination(self) -> None:
        self.cluster.receiver.behaviour = self.chance.choice(("fail", "hang", "reset", "slow"))
        time.sleep(self.chance.uniform(1, 6))
        self.cluster.receiver.behaviour = "ok"

    def _postgres_is_back(self) -> None:
        watch = self.cluster.watch
        back = watch.mark()
        self.judge = lambda: self.row.recovered(POSTGRES_BACK_S, watch.first_recorded(back), "PostgreSQL")

    def __post_init__(self) -> None:
        #: Judges how fast the last fault was overcome.
        self.judge: Callable[[], Any] = lambda: None
        judged = (self.kill_worker, self.kill_postgres, self.restart_postgres)
        #: The likely ones stand here more than once.
        self.faults: tuple[Callable[[], None], ...] = (
            *[self.kill_worker] * 6,
            *[self.cut_postgres, self.cut_kafka] * 2,
            self.freeze_worker,
            self.stop_worker,
            self.kill_door,
            *judged[1:],
            self.kill_kafka,
            self.freeze_kafka,
            self.hide_postgres,
            self.lose_answers,
            self.slow_network,
            self.trouble_destination,
        )
        self.judged: tuple[Callable[[], None], ...] = judged

    def break_something(self) -> None:
        self._break(self.chance.choice(self.faults))
        time.sleep(self.chance.uniform(*QUIET_S))

    def break_in_quiet(self) -> None:
        """With nothing else broken for a while before and after, so that it can be judged."""
        time.sleep(WORKER_BACK_S)
        self._break(self.chance.choice(self.judged))
        time.sleep(WORKER_BACK_S + 1)
        self.judge()

    def _break(self, fault: Callable[[], None]) -> None:
        fault()
        name = getattr(fault, "__name__", "")
        self.row.faults += 1
        self.row.notes[name] = self.row.notes.get(name, 0) + 1


def run(trial: Trial) -> Row:
    row = trial.row
    services = ProxiedServices(trial.folder / "servers")
    with trial.cluster(services) as cluster:
        cluster.overrides = {
            name: {"HEADWATER_DATABASE_URL": services.database_by_proxy(cluster.database_url)}
            for name in (*STAGES, *(f"{stage}-2" for stage in SPARED))
        }
        cluster.overrides["ingest"] = {"HEADWATER_KAFKA": services.kafka_by_proxy}
        cluster.start_all()
        for stage in SPARED:
            cluster.start(stage, name=f"{stage}-2")
        cluster.wait_joined(*SPARED)
        cluster.load(trial.seed, rate=450)
        soak = Soak(cluster, services, trial.chance(), row)
        # A soak must last: it is only shortened with quick runs.
        ends = time.monotonic() + (1800 if trial.scale >= 0.4 else trial.seconds(1800, 60))
        while time.monotonic() < ends:
            for _ in range(19):
                soak.break_something()
                _revive(cluster, row)
            soak.break_in_quiet()
        _judge_memory(row, cluster, trial.scale)
        return trial.conclude(row, cluster, drain_within_s=180)


def _revive(cluster: Cluster, row: Row) -> None:
    """What a supervisor does: a process that ended by itself is started again."""
    for name, child in list(cluster.children.items()):
        if not child.running:
            row.notes["ended by themselves"] = row.notes.get("ended by themselves", 0) + 1
            cluster.start_again(name)


def _judge_memory(row: Row, cluster: Cluster, scale: float) -> None:
    growth, minutes, fastest = cluster.watch.growth()
    row.notes |= {
        "fastest growing": fastest,
        "growth_mb_per_minute": round(growth, 2),
        "process minutes": round(minutes),
    }
    files, row.notes["most open files has"] = cluster.watch.most_files()
    row.notes["most open files"] = files
    row.require(minutes > 60 or scale < 0.4, f"only {minutes:.0f} minutes of settled processes were weighed")
    if growth > MAX_GROWTH:
        row.violate("I13", f"memory of {row.notes['fastest growing']} grows by {growth:.2f} MB a minute")
    if files > MAX_FILES:
        row.violate("I13", f"{row.notes['most open files has']} had {files} open files")
