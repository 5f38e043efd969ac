"""Who works takes long turns, and so does whatever it starts."""

import os
import platform
import subprocess
import sys

import pytest

from deploy.turns import TURN_S

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="here turns are as they are"
)

#: What the kernel says of the process that runs this: policy, nice, nanoseconds; by sched_getattr(2).
ASK = """
import ctypes, platform, struct
told = ctypes.create_string_buffer(48)
number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
assert ctypes.CDLL(None).syscall(number, 0, told, 48, 0) == 0
_, policy, _, nice, _, runtime, _, _ = struct.unpack("=IIQiIQQQ", told.raw)
print(policy, nice, runtime)
"""


def told_of_a_child(before: str) -> list[int]:
    """ASK in a child of a process that did `before`, and then took long turns."""
    steps = (before, "from deploy.turns import take_long_turns", "take_long_turns()")
    parent = "\n".join(
        ("import os, subprocess, sys", *steps, f"subprocess.run([sys.executable, '-c', {ASK!r}], check=True)")
    )
    done = subprocess.run([sys.executable, "-c", parent], check=True, capture_output=True, text=True)
    return [int(number) for number in done.stdout.split()]


def kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in platform.release().split("-")[0].split(".")[:2])


def test_a_child_takes_long_turns_and_is_as_nice_as_before():
    policy, nice, turn_ns = told_of_a_child("os.nice(3)")
    assert (policy, nice) == (os.SCHED_BATCH, min(19, os.nice(0) + 3))
    assert turn_ns == (TURN_S * 1e9 if kernel() >= (6, 12) else 0)


def test_a_policy_that_somebody_chose_stays():
    policy, *_ = told_of_a_child("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))")
    assert policy == os.SCHED_IDLE
