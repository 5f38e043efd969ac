"""Named places in the runner where a test makes the process die, stop, or lose an answer; nothing unless it does."""

from collections.abc import Callable

#: Called with the name of the place that is passed. What comes of it, deploy.fail_points decides.
Reach = Callable[[str], None]


def nowhere(name: str) -> None:
    """No fail point is set."""
