"""The door and all stages as child processes; whoever dies is started again."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from types import MappingProxyType

import click

from deploy.embedded.process import dying_with_parent
from deploy.settings import Settings, SettingsError
from deploy.stages import BRIDGE, DISPATCH, topics_of
from ingest.numbers import SUFFIX
from processors.runner.stage import Stage
from processors.topology import PIPELINE
from schemas.topics import Topic

DOOR = "ingest"
STOP_WITHIN_S = 5.0
MAX_BACKOFF_S = 15.0
#: A process that ran this long has started well: its next start comes without delay again.
RAN_WELL_S = 60.0


def say(line: str) -> None:
    """One line for whoever watches; results go to stdout, progress here."""
    click.echo(line, err=True)


def parse_workers(given: Sequence[str]) -> dict[str, int]:
    """`STAGE=N` options as numbers. Raises SettingsError."""
    counts: dict[str, int] = {}
    names = {DOOR, *(stage.name for stage in PIPELINE)}
    for text in given:
        name, _, number = text.partition("=")
        if name not in names and not name.startswith((DISPATCH, BRIDGE)):
            raise SettingsError(f"--workers {text}: there is no stage {name!r} (there are: {', '.join(sorted(names))})")
        if not number.isdigit() or not 1 <= int(number) <= 64:
            raise SettingsError(f"--workers {text}: the number of processes is 1 to 64")
        if name == DOOR and int(number) > 1 and sys.platform != "linux":
            raise SettingsError(f"--workers {text}: doors can share a port on Linux only")
        counts[name] = int(number)
    return counts


class Child:
    """One process of ours, started again when it dies."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, core: int | None = None
    ) -> None:
        """`core`: where it has to run; anywhere where it is None."""
        self.name, self._command, self._environment, self._log = name, command, environment, log
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._next_start = 0.0
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def keep_running(self) -> None:
        """Start it if it is not running and its time has come; say so when it died."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._deaths = 0 if now - self._started > RAN_WELL_S else self._deaths + 1
            delay = min(MAX_BACKOFF_S, 0.5 * 2 ** min(self._deaths, 6)) if self._deaths > 1 else 0.2
            code, self._process, self._next_start = self._process.returncode, None, now + delay
            say(f"{self.name} ended with {code}; it starts again in {delay:.1f} s (its log: {self._log})")
        if self._process is None and now >= self._next_start:
            self._started = now
            try:
                self._start()
            except OSError as error:  # no memory, no process, no place for its log: the others go on
                self._next_start = now + MAX_BACKOFF_S
                say(f"{self.name} cannot be started ({error.strerror}); again in {MAX_BACKOFF_S:.0f} s")

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_beginning(self._core),
            )

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_or_kill(self, until: float) -> None:
        """Wait for its end until then, at most."""
        if self._process is not None:
            try:
                self._process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _beginning(core: int | None) -> Callable[[], None] | None:
    """What a child does before it becomes what it is."""
    die_with_parent = dying_with_parent()
    if core is None or die_with_parent is None or sys.platform != "linux":
        return die_with_parent

    def begin() -> None:
        with suppress(OSError):  # the core may be gone by now: then anywhere
            os.sched_setaffinity(0, {core})
        die_with_parent()

    return begin


class Pipeline:
    """The door and all stages as children of this process."""

    def __init__(self, settings: Settings, workers: Mapping[str, int], environment: Mapping[str, str]) -> None:
        self._settings, self._workers = settings, workers
        self._environment = {**environment, **settings.environment()}
        self._logs = settings.data / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self.children: dict[str, Child] = {}
        #: Process to its stage.
        self._stages: dict[str, str] = {}
        #: Stages beside the pipeline, and what they read.
        self._reads: dict[str, tuple[Topic, ...]] = {}
        self._add_doors()
        for stage in PIPELINE:
            self._add_stage(stage.name)

    def _add_doors(self) -> None:
        """Each on a core, where there are as many: what a door hands between its threads is dear from core to core.
        Several share the port. They count from the beginning, all of them, as one alone does when it is started."""
        names, folder = self._names(DOOR), (self._settings.data / "doors").absolute()
        for file in folder.glob(f"*{SUFFIX}"):
            file.unlink(missing_ok=True)
        cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
        for name, core in zip(names, cores if len(names) <= len(cores) else repeat(None), strict=False):
            shared = {"HEADWATER_SHARED_DOOR": str(folder / f"{name}{SUFFIX}")} if len(names) > 1 else {}
            self._add(name, [DOOR], shared, core)

    def _add_stage(self, name: str) -> None:
        for child in self._names(name):
            self._add(child, ["worker", name])

    def _names(self, stage: str) -> list[str]:
        """Of its processes."""
        return [stage, *(f"{stage}-{number}" for number in range(2, self._workers.get(stage, 1) + 1))]

    def _add(
        self,
        name: str,
        arguments: Sequence[str],
        more: Mapping[str, str] = MappingProxyType({}),
        core: int | None = None,
    ) -> None:
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        self.children[name] = Child(name, command, {**self._environment, **more}, self._logs / f"{name}.log", core)
        self._stages[name] = arguments[-1]

    def keep_running(self, beside: Mapping[str, Stage]) -> None:
        """Restart who died; start and stop the stages beside the pipeline as destinations and bridges come and go."""
        for name, stage in beside.items():
            if name in self.children and self._reads[name] != stage.reads:  # a bridge from another topic now
                self._end(name)
            if name not in self.children:
                self._add_stage(name)
                self._reads[name] = stage.reads
        for name in list(self.children):
            if self._stages[name].startswith((DISPATCH, BRIDGE)) and self._stages[name] not in beside:
                self._end(name)
        for child in self.children.values():
            child.keep_running()

    def _end(self, name: str) -> None:
        say(f"{name} ends: its definition went, or reads another topic now")
        child = self.children.pop(name)
        child.terminate()
        child.wait_or_kill(time.monotonic() + STOP_WITHIN_S)

    def stop(self) -> None:
        for child in self.children.values():
            child.terminate()
        until = time.monotonic() + STOP_WITHIN_S
        for child in self.children.values():
            child.wait_or_kill(until)

    def groups(self, beside: Mapping[str, Stage]) -> dict[str, list[str]]:
        """Every stage's consumer group, and the topics it reads."""
        return topics_of([*PIPELINE, *beside.values()])
