"""What a payload that is sent once more carries, so that it stays the event that it was."""

from typing import Literal

import msgspec

from schemas.origin import Origin

REPLAY_HEADER = "headwater-replay"
#: How often a record was sent again after it had failed; so that an old failure is told from a new one.
ATTEMPT_HEADER = "headwater-attempt"
#: The config revision that a record is to be judged by, at least: what an operator mended before sending it again is
#: known there. Believed only in topics that none but stages and operators write to.
REVISION_HEADER = "headwater-revision"
QUIET_HEADER = "headwater-quiet"


class Replay(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a payload lay at first, and what was already made of it. It travels in a header, signed."""

    #: Ordinal -1: the payload as a whole; else the one event in it is that event of the payload that lay there.
    origin: Origin
    #: When it was received at first, in milliseconds.
    received_ms: int
    #: From the archive: dropped where its outcome is known. Or one that failed, once more.
    kind: Literal["archive", "failure"]
    #: Counted as accepted before: a single event for this source, "" for what could not be read. None: it was not.
    counted: str | None = None
    #: No outbound effects.
    quiet: bool = False
    attempt: int = 0
    #: The config revision that it is to be judged by, at least.
    revision: int = 0
