"""Fail points: the process dies at a named place, to prove that nothing is lost by it. Off unless a test sets one."""

import os
import signal
import threading

from deploy.settings import SettingsError
from processors.runner.fail_points import Reach, nowhere

_RUNNER = ("decode", "lock", "step", "insert", "copy", "checkpoint", "commit", "produce", "report", "acknowledge")
_DOOR = ("door-produce", "door-report")
#: Every place: before and after each of these.
FAIL_POINTS = tuple(f"{when}-{place}" for place in (*_RUNNER, *_DOOR) for when in ("before", "after"))
#: The exit code of a process that died at one.
DIED = 86


def fail_point(setting: str) -> Reach:
    """What HEADWATER_FAILPOINT asks for: `NAME[:N[:HOW]]`, at the N-th passage, once.

    HOW: `die` (as kill -9 would), `stop` (SIGSTOP), `lose` (the answer of PostgreSQL is lost). Raises SettingsError.
    """
    if not setting:
        return nowhere
    name, number, how, *rest = *setting.split(":"), *("1", "die")[setting.count(":") :]
    if rest or name not in FAIL_POINTS or not number.isdigit() or how not in _HOW:
        raise SettingsError(f"HEADWATER_FAILPOINT {setting}: NAME[:N[:HOW]], as after-commit:1:die")
    return _FailPoint(name, int(number), how).reach


class _FailPoint:
    """Counts passages; two threads may pass at once."""

    def __init__(self, name: str, number: int, how: str) -> None:
        self._name, self._left, self._how = name, number, how
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left:
                return
        _HOW[self._how]()


def _die() -> None:
    os._exit(DIED)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _lose() -> None:
    import psycopg  # the door has none

    raise psycopg.OperationalError("the answer was lost, as a fail point asked for")


_HOW = {"die": _die, "stop": _stop, "lose": _lose}
