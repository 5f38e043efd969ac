"""How a long-lived process treats its memory: what the collector need not see, what the kernel need not get back."""

import contextlib
import ctypes
import gc

#: Freed memory up to this is kept, blocks up to this come from it: a batch of the largest size.
_KEPT_BYTES, _BLOCK_BYTES = 64 * 2**20, 16 * 2**20
#: From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def settle() -> None:
    """To be called once everything is loaded, before the work begins.

    What was loaded so far stays: collections need not look at it again. A batch makes a hundred thousand objects
    that all go with it, none of them in circles: collections in between would find nothing.
    """
    gc.freeze()
    gc.set_threshold(200_000, 10, 10)
    with contextlib.suppress(OSError, AttributeError):  # another C library has other ways, and maybe no need
        _keep_freed_memory(ctypes.CDLL(None))


def collect_often() -> None:
    """For who talks HTTP: each request leaves circles behind, and tens of megabytes of them between two collections."""
    gc.set_threshold(10_000, 10, 10)


def _keep_freed_memory(libc: ctypes.CDLL) -> None:
    """glibc would give a batch's memory back and fault it in again for the next: a tenth of a worker's time."""
    libc.mallopt(_M_MMAP_THRESHOLD, _BLOCK_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    libc.mallopt(_M_TOP_PAD, _BLOCK_BYTES)
