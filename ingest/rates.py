"""How much may come in a while: by source, and by source and address. Each door counts for itself."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from math import ceil

from schemas.definitions.inbound import Rate

#: So many addresses are remembered; those that were quiet the longest are forgotten first.
MAX_KNOWN = 100_000


class Rates:
    """The generic cell rate algorithm (ATM Forum, Traffic Management 4.0): one number a sender, when it will have used
    up what it was given."""

    def __init__(self) -> None:
        self._used_up_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, senders: Mapping[Hashable, Rate], events: int, now: float) -> int:
        """0 where so many events may come now (seconds of any clock that only goes on) by the rates of all of these
        senders; else the seconds to wait, and none of the rates is charged.

        Who may send at all may send a whole batch: what is above the rate is waited for afterwards.
        """
        wait = max(self._ahead(who, now) - (rate.at_once - 1) / rate.per_second for who, rate in senders.items())
        if wait > 1e-9:
            return ceil(wait)
        for who, rate in senders.items():
            self._used_up_at[who] = now + max(self._ahead(who, now), 0) + events / rate.per_second
            self._used_up_at.move_to_end(who)
            if len(self._used_up_at) > MAX_KNOWN:
                self._used_up_at.popitem(last=False)
        return 0

    def _ahead(self, who: Hashable, now: float) -> float:
        """By how many seconds it has used up more than it was given."""
        return self._used_up_at.get(who, now) - now
