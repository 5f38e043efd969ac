"""Processes of the product forked from one that has loaded its modules: a start costs a third of what it else would."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.embedded.process import PR_SET_PDEATHSIG

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.kit.preloaded"])


class Fork:
    """One process, with as much of Popen as tests use."""

    def __init__(
        self, arguments: Sequence[str], variables: Mapping[str, str], log: Path, errors: Path | None = None
    ) -> None:
        """What it says is added to `log`, and what it says of errors to `errors`, where that is another file."""
        log.touch()
        written = (log, errors or log)
        self._process = _context.Process(target=_run, args=(list(arguments), dict(variables), *written), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0)
        return code


def _run(arguments: list[str], variables: dict[str, str], log: Path, errors: Path) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    with Path(os.devnull).open("rb") as nothing, log.open("ab") as output, errors.open("ab") as wrong:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(wrong.fileno(), 2)
    os.environ.clear()
    os.environ.update(variables)
    from deploy.cli import main

    main(arguments)
