"""The whole installation of an experiment: door, every stage, a webhook; to be killed, paused and started at will."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.embedded.process import dying_with_parent, usable_port
from tests.faults.definitions import DEFINITIONS
from tests.faults.ledger import Ledger
from tests.faults.load import Load, Sending
from tests.faults.receiver import Receiver
from tests.faults.visits import Visits
from tests.faults.watch import Watch
from tests.kit.installation import ALL, READS, Installation
from tests.kit.processes import Child, headwater
from tests.kit.services import Services
from tests.kit.waiting import until

#: Every stage, in the order of the data.
STAGES = (*ALL, "dispatch-hook")


class Member(Child):
    """A process that works in the experiment's folder, where whatever it leaves is cleared away."""

    def __init__(self, arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                headwater(*arguments),
                cwd=log.parent,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=dying_with_parent(),
            )


class Cluster(Installation):
    """An installation with a webhook, a ledger and a watch. `overrides` are variables of single processes, by name."""

    def __init__(self, services: Services, folder: Path, definitions: str = DEFINITIONS, **settings: Any) -> None:
        self.overrides: dict[str, dict[str, str]] = {}
        super().__init__(services, folder, "", **settings)
        self.receiver = Receiver()
        self.apply(definitions.replace("URL", self.receiver.url))
        self.ledger = Ledger(folder / "ledger.jsonl")
        topics = sorted({topic for stage in (*READS, "dispatch-hook") for topic in self._reads(stage)})
        self.watch = Watch(self.database_url, lambda: self.ends(topics), self._pids)
        self.loads: list[Load] = []
        #: Stage to how often a worker of it was killed by `kill_worker`.
        self.killed: Counter[str] = Counter()

    def start_all(self, *stages: str) -> None:
        """Start the door and these stages (all where none is named), and return when they wait for work."""
        self.start(*(stages or STAGES))
        self.start_door()
        wanted = set(stages or STAGES)
        until(lambda: {stage for stage, *_ in self._positions()} >= wanted, 60, self.tell)

    def load(self, seed: int, rate: float, run: str = "s", visits: Sending | None = None, **options: Any) -> Load:
        """Start sending `visits`, or else the usual ones; those of another `run` are others."""
        options.setdefault("backlog", self.watch.backlog)
        load = Load(visits or Visits(seed, run), self.ledger, ("127.0.0.1", self.port), rate, seed=seed, **options)
        self.loads.append(load)
        return load.start()

    def second_door(self) -> int:
        """Start another door; its port."""
        port = usable_port(0)
        self.start("ingest", name="ingest-2", HEADWATER_HTTP_PORT=str(port))
        return port

    def answers(self, port: int) -> bool:
        """Whether a door is ready there."""
        try:
            return httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill_worker(self, name: str) -> None:
        """kill -9 a process that runs."""
        assert self.children[name].running, f"{name} had ended by itself"
        self.kill(name)
        self.killed[self._stage_of[name]] += 1

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        self.children[name].signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.children[name].signal(signal.SIGCONT)

    def start_again(self, name: str) -> None:
        """Start a process that was killed: the door, or a stage's (`identify-2` is another one of identify)."""
        self._start(name, ["ingest"] if name == "ingest" else ["worker", name.removesuffix("-2")])

    def wait_drained(self, within_s: float) -> float:
        """Return when nothing waits and nothing moves; the seconds it took. Fails when time is up."""
        started = time.monotonic()
        still: list[Any] = []
        while len(still) < 4:
            lag, positions = self.lag(), self._positions()
            still = [] if lag or (still and still[-1] != positions) else [*still, positions]
            assert time.monotonic() - started < within_s, f"not drained within {within_s:.0f} s: {self.tell()}"
            time.sleep(0.3)
        return time.monotonic() - started

    def archive_folder(self) -> Path | None:
        """Where the archive lies; None where no process keeps one."""
        return self.folder / "data" / "archive" if "archive" in self.children else None

    def close(self) -> None:
        for load in self.loads:
            load.finish(0)
        self.watch.close()
        super().close()
        self.ledger.close()
        self.receiver.close()

    def _start(self, name: str, arguments: Sequence[str], **more: str) -> None:
        assert name not in self.children or not self.children[name].running
        variables = self.variables() | self.overrides.get(name, {}) | more
        self.children[name] = Member(arguments, variables, self.folder / f"{name}.log")
        self._stage_of[name] = arguments[-1]

    def _pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in list(self.children.items()) if child.running}


@contextmanager
def running(folder: Path, services: Services | None = None, **options: Any) -> Iterator[Cluster]:
    """A cluster on servers of its own (or these), gone at the end with all of its processes."""
    servers = services or Services(folder / "servers")
    cluster = None
    try:
        servers.start()
        cluster = Cluster(servers, folder, **options)
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        servers.kill()
