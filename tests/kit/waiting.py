"""Waiting for a condition, with a deadline; never for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(ask: Callable[[], T], within_s: float = 30, why: Callable[[], str] | str = "") -> T:
    """The first true answer. Fails where there is none in time, saying why."""
    deadline = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            told = why() if callable(why) else why
            raise AssertionError(f"not within {within_s:.0f} s: {told or ask}; last answer: {answer!r}")
        time.sleep(0.05)
