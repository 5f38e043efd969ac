"""The brake of a lane: half dead letters are more likely a mistake of ours than of the senders."""

from collections import deque

from processors.runner.failures import LaneStopped

#: A lane whose last this many records were half dead letters stops.
WATCHED_RECORDS = 1000


class DeadLetterWatch:
    """What became of a lane's last records."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WATCHED_RECORDS)

    def add(self, records: int, dead_letters: int) -> None:
        """So many more records, and how many of them became dead letters. Raises LaneStopped where half of the last
        ones did."""
        self._recent.extend([True] * dead_letters + [False] * (records - dead_letters))
        if len(self._recent) == WATCHED_RECORDS and sum(self._recent) * 2 >= WATCHED_RECORDS:
            raise LaneStopped(
                f"half of the last {WATCHED_RECORDS} records became dead letters; once the cause is mended, start the "
                "stage's workers again",
                mendable=False,
            )
