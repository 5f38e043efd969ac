"""A server run as a child process: its folder, its port, its start and its end."""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil  # type: ignore[import-untyped]

HOST = "127.0.0.1"
ANSWER_WITHIN_S = 120.0  # long, because a crash recovery may come first and a dead child is noticed at once
PR_SET_PDEATHSIG = 1


class EmbeddedError(Exception):
    """Something a user can put right, said in words that are fit to be shown alone."""


def silent(_: str) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Launch:
    """How to start a server: as which user and group, if not ours, and with which open files (closed once it runs)."""

    command: list[str]
    cwd: Path
    user: tuple[int, int] | None = None
    files: tuple[int, ...] = ()


class EmbeddedServer(ABC):
    """One server, one folder, one port on the loopback; what all embedded servers have in common.

    `start` must be called from a thread that lives as long as the server should: the kernel ends the child when the
    thread that started it ends, not only when the process does.
    """

    name: ClassVar[str]
    port_variable: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    #: Files in the folder that tell why the server died, the most telling one last; its output goes to the first.
    logs: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path, port: int, progress: Callable[[str], None], settings: Mapping[str, str]) -> None:
        self._folder = folder.absolute()
        self._wanted_port = self._port = port
        self._progress = progress
        self._settings = settings
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the server's process lives (it may be paused)."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedError when it does not run."""
        if self._child is None or not self.running:
            raise EmbeddedError(f"{self.name}: it is not running")
        return self._child.pid

    @property
    def address(self) -> str:
        """Where the server listens, as host:port. Raises EmbeddedError before the first start has chosen a port."""
        if not self._port:
            raise EmbeddedError(f"{self.name}: it was not started yet, so it has no port")
        return f"{HOST}:{self._port}"

    def start(self) -> None:
        """Start the server and return when it answers. Raises EmbeddedError, and leaves no process behind then."""
        if self.running:
            raise EmbeddedError(f"{self.name}: it is running already")
        try:
            with explained(self.name, self._folder):
                self._launch()
                self._await_answer()
            self._wanted_port = self._port  # others know it by now: they would look for another in vain
        except BaseException:
            self.kill()
            raise

    def stop(self, grace_s: float = 8) -> None:
        """End the server in good order, or by force after `grace_s` seconds. No effect when it does not run."""
        self.resume()
        if self._child is not None:
            self._child.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(grace_s)
        self.kill()  # no effect on one that ended in time

    def kill(self) -> None:
        """End the server and its children as a crash would, and return when they are gone. No effect on a dead one."""
        if self._child is None or not self.running:
            return
        self.pause()
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._child.wait()
        # The last of them to go lets go of the lock. (Waiting for their ids would be waiting for who collects them.)
        with suppress(EmbeddedError, OSError), locked(self._folder / "lock", self.name, within_s=10):
            pass

    def pause(self) -> None:
        """Freeze the server and its children. No effect when it does not run."""
        if self._child is not None and self.running:
            parent = psutil.Process(self._child.pid)
            parent.suspend()
            # A stopped parent starts no more children; the signal only asks, so look for them once it has stopped.
            wait_until(lambda: not self.running or parent.status() == psutil.STATUS_STOPPED, within_s=2)
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let a paused server and its children go on. No effect when it is not paused."""
        for process in reversed(self._family()):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    @abstractmethod
    def _prepare(self) -> Launch:
        """Make the folder ready and say how to start the server on `self._port`."""

    @abstractmethod
    def _answers(self) -> bool:
        """Ask the server something real, and say whether it answered."""

    def _family(self) -> list[psutil.Process]:
        """The server's process and its descendants, the eldest first; none when it does not run."""
        with suppress(EmbeddedError, psutil.NoSuchProcess):
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def _launch(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A supervisor that was killed may have left processes which need a moment to be gone.
        with locked(self._folder / "lock", self.name, within_s=3) as lock:
            self._port = self._choose_port()
            launch = self._prepare()
            for log in (self._folder / name for name in self.logs):
                if log.exists():
                    log.replace(f"{log}.before")
            self._child = spawn(launch, self._folder / self.logs[0], lock)

    def _choose_port(self) -> int:
        if not self._wanted_port:
            return remembered_port(self._folder / "port")
        if not usable_port(self._wanted_port):
            port = f"port {self._wanted_port} on {HOST} is taken"
            raise EmbeddedError(
                f"{self.name}: {port}; stop what listens there or choose another with {self.port_variable}"
            )
        return self._wanted_port

    def _await_answer(self) -> None:
        if wait_until(lambda: not self.running or self._answers(), ANSWER_WITHIN_S) and self.running:
            return
        state = f"does not answer after {ANSWER_WITHIN_S:.0f} s" if self.running else "stopped while it was starting"
        logs = [log.read_text(errors="replace") for name in self.logs if (log := self._folder / name).exists()]
        lines = [line.strip() for log in logs for line in log.splitlines()]
        words = [line for line in lines if line and not line.startswith(("at ", "..."))]  # no frames of stack traces
        raise EmbeddedError("\n  ".join([f"{self.name}: it {state}; the last words in {self._folder}:", *words[-6:]]))


@contextmanager
def explained(name: str, folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses, to us or to a program that says so, into an EmbeddedError."""
    try:
        yield
    except (OSError, EmbeddedError) as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise EmbeddedError(f"{name}: no space is left on the disk of {folder}") from error
        if isinstance(error, EmbeddedError):
            raise
        raise EmbeddedError(f"{name}: cannot use {error.filename or folder}: {error.strerror or error}") from error


@contextmanager
def locked(file: Path, name: str, within_s: float) -> Iterator[int]:
    """Hold a lock on a file; a child that inherits the yielded descriptor goes on holding it until it ends.

    Raises EmbeddedError when somebody else still holds the lock after `within_s` seconds.
    """

    def taken() -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    with file.open("ab") as opened:
        if not wait_until(taken, within_s):
            raise EmbeddedError(f"{name}: {file.parent} is in use by another process; stop that one first")
        yield opened.fileno()


def spawn(launch: Launch, log: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start a child that dies with the calling thread, and that holds the folder's lock as long as it lives."""
    user, group = launch.user or (None, None)
    try:
        with log.open("wb") as output:
            return subprocess.Popen(
                launch.command,
                cwd=launch.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C goes to the supervisor alone, who stops its children in order
                preexec_fn=dying_with_parent(),
                pass_fds=(lock, *launch.files),
                user=user,
                group=group,
                extra_groups=[] if launch.user else None,
            )
    finally:
        for descriptor in launch.files:
            os.close(descriptor)


def dying_with_parent() -> Callable[[], None] | None:
    """What a child calls before it becomes the server, so that the kernel kills it when its parent is gone."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: the child of a threaded process must not take locks
    parent = os.getpid()

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return ask_kernel


def wait_until(done: Callable[[], bool], within_s: float) -> bool:
    """Ask again and again until it is done, at least once. Returns whether it was done in time."""
    deadline = time.monotonic() + within_s
    while not (answer := done()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def usable_port(port: int) -> int:
    """The port, or any for 0, if a server could listen on it at the loopback now; else 0."""
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])
    return 0


def remembered_port(file: Path, avoid: int = 0) -> int:
    """The port written in the file if it is free, else a free one, which is written there for next time."""
    text = file.read_text().strip() if file.exists() else ""
    port = usable_port(int(text)) if text.isdecimal() else 0
    while port in (0, avoid):
        port = usable_port(0)
    file.write_text(f"{port}\n")
    return port
