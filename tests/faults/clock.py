"""Another clock for single processes, by libfaketime: Debian's package `faketime`, whose installation takes root."""

import os
import shutil
import subprocess
from pathlib import Path


class NoClock(Exception):
    """There is no libfaketime, and it cannot be installed; the message says why."""


def clock(seconds: int) -> dict[str, str]:
    """Variables for a process whose clock is wrong by so many seconds; how fast time passes stays right.

    Raises NoClock.
    """
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


def _library() -> Path:
    if found := _find():
        return found
    if os.geteuid() or not shutil.which("apt-get"):
        raise NoClock("needs libfaketime: install Debian's package faketime (that takes root)")
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "--yes", "faketime"]):
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise NoClock(f"libfaketime could not be installed: {done.stderr.strip()[-300:]}")
    if found := _find():
        return found
    raise NoClock("the package faketime has no libfaketimeMT")


def _find() -> Path | None:
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
