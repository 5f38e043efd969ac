"""How long a process goes on working while others wait for its core."""

import ctypes
import os
import platform
import struct
import sys
from contextlib import suppress

#: A dozen processes share few cores, and each needs its caches: where they take each other's places some thousand times
#: a second, an event costs a tenth more.
TURN_S = 0.02
#: Python's `os` has no such call. Its number by processor, in Linux.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
#: `struct sched_attr` of sched_setattr(2): size, policy, flags, nice, priority, runtime, deadline, period.
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")


def take_long_turns() -> None:
    """For this thread, and the threads and processes that it starts from now on: none of them takes another's place as
    soon as it wakes up, each waits for its turn.

    Linux heeds the length from 6.12 on. Without effect on other systems, where it is not allowed, and where somebody
    has chosen another policy.
    """
    call = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or call is None or sys.maxsize < 2**32:
        return
    with suppress(OSError, AttributeError):  # other C libraries have no such calls
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            nice = os.getpriority(os.PRIO_PROCESS, 0)
            wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_BATCH, 0, nice, 0, round(TURN_S * 1e9), 0, 0)
            ctypes.CDLL(None).syscall(call, 0, wanted, 0)
