"""Children of a test: started, signalled by their pid, and surely ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from deploy.embedded.process import dying_with_parent
from tests.kit.forks import Fork

REPOSITORY = Path(__file__).parents[2]


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Ours without any HEADWATER_*, then these settings. A Kafka that starts in it is compiled for a quick start."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    rest["JAVA_TOOL_OPTIONS"] = f"{os.environ.get('JAVA_TOOL_OPTIONS', '')} -XX:TieredStopAtLevel=1".strip()
    return rest | {f"HEADWATER_{name.upper()}": str(value) for name, value in settings.items()}


def headwater(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deploy.cli", *arguments]


class Child:
    """One process of the product, its output in a log."""

    def __init__(self, arguments: Sequence[str], variables: Mapping[str, str], log: Path, forked: bool = False) -> None:
        self.log = log
        self._process: subprocess.Popen[bytes] | Fork
        if forked:
            self._process = Fork(arguments, variables, log)
            return
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                headwater(*arguments),
                cwd=REPOSITORY,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=dying_with_parent(),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether it was stopped (SIGSTOP), and still is."""
        return self.running and bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """As kill -9 does; returns when it is gone."""
        self._process.kill()
        self._process.wait()

    def terminate(self, within_s: float = 15) -> int:
        """In good order; its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.log.stem} did not end within {within_s} s after TERM") from None

    def wait(self, within_s: float) -> int:
        return self._process.wait(within_s)

    def output(self) -> str:
        return self.log.read_text(errors="replace")
