"""What was refused, in the log: which request, why, of no more than is safe to say; so many lines a second at most."""

import logging
import time

from ingest.refused import Refused

log = logging.getLogger("headwater.door")

LINES_A_SECOND = 20


class Refusals:
    """Writes a line for each, and how many it left out."""

    def __init__(self) -> None:
        self._second, self._lines, self._left_out = 0, 0, 0

    def note(self, request_id: str, refused: Refused) -> None:
        """Neither path nor body nor header: whoever sends makes them up."""
        now = int(time.monotonic())
        if now != self._second:
            if self._left_out:
                log.info("refused", extra={"left_out": self._left_out})
            self._second, self._lines, self._left_out = now, 0, 0
        self._lines += 1
        if self._lines > LINES_A_SECOND:
            self._left_out += 1
            return
        log.info("refused", extra={"request_id": request_id, "status": refused.status, "code": refused.code})
