"""The web mix: seeded visits of returning visitors. Bytes are put together by hand: the load shares the cores."""

import random
from bisect import bisect_left
from collections import deque
from itertools import accumulate

from tests.bench.definitions import TYPES
from tests.bench.feeds import Payload

VISITORS = 50_000
IDENTIFIED, MERGING, REPEATED = 0.2, 0.01, 0.02
#: Payloads of one visit, on average.
VISIT_PAYLOADS = 10

_PAYLOAD = (
    b'{"source":{"id":"web"},"session":{"id":"%s"},"profile":{"id":"%s"},"context":{"user_agent":"Mozilla/5.0 (X11; '
    b'Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36","locale":"en-GB","screen":'
    b'{"width":1920,"height":1080,"density":2},"library":{"name":"web","version":"2.1.0"}},"events":[%s]}'
)
_EVENT = (
    b'{"id":"%s","type":"%s","timestamp":"2026-03-01T%02d:%02d:%02d.%03dZ","properties":{"page":{"url":'
    b'"https://shop.example/catalogue/%d?ref=mail&campaign=spring","title":"Catalogue page","referrer":'
    b'"https://search.example/?q=vinyl+records"},"product":{"id":"sku-%d","price":%d.%02d,"currency":"EUR","category":'
    b'"music/vinyl","quantity":1}%s,"experiment":{"name":"checkout-colour","variant":"b"},"note":"%s"}}'
)
#: What events say at length, cut out of here: words, which compress as words do.
_WORDS = b" ".join(random.Random(0).choices([b"%x" % (n * n * 7919) for n in range(3000)], k=20_000))
_NOTE_BYTES = 420
_USER = b',"user":{"id":"user-%d","plan":"free"}'


class Web:
    """Payloads without end, the same ones for the same seed. An event has about 1 KB, alone in its payload."""

    def __init__(self, seed: int, batch: int = 1, visitors: int = VISITORS, merging: float = MERGING) -> None:
        """`batch` events a payload; those of one payload are one visitor's. The shares are of events."""
        self._random = random.Random(seed).random
        self._seed, self._batch, self._number = seed, batch, 0
        self._merging = min(1.0, merging * batch)
        self._weights = list(accumulate(1 / rank for rank in range(1, visitors + 1)))
        self._visits = [0] * visitors
        self._sent: deque[Payload] = deque(maxlen=1000)

    def next(self) -> Payload:
        if self._sent and self._random() < REPEATED:
            return self._sent[int(self._random() * len(self._sent))]
        visitor = bisect_left(self._weights, self._random() * self._weights[-1])
        self._number += 1
        if self._random() < self._merging:
            payload = self._payload(visitor, b"new-%d-%d" % (self._seed, self._number), self._number, True)
        else:
            self._visits[visitor] += self._random() < 1 / VISIT_PAYLOADS
            payload = self._payload(visitor, b"visitor-%d" % visitor, self._visits[visitor], False)
        self._sent.append(payload)
        return payload

    def _payload(self, visitor: int, device: bytes, visit: int, signs_in: bool) -> Payload:
        session = b"%s-%d" % (device, visit)
        events = b",".join([self._event(visitor, ordinal, signs_in) for ordinal in range(self._batch)])
        return Payload(session, _PAYLOAD % (session, device, events), self._batch)

    def _event(self, visitor: int, ordinal: int, signs_in: bool) -> bytes:
        chance = self._random
        dice, number = chance(), self._number
        kind = TYPES[0 if dice < 0.6 else 1 if dice < 0.85 else 2 if dice < 0.95 else 3]
        user = _USER % visitor if chance() < IDENTIFIED or (signs_in and ordinal == 0) else b""
        second = number % 86_400
        return _EVENT % (
            b"%d-%d-%d" % (self._seed, number, ordinal),
            kind.encode(),
            *(second // 3600, second // 60 % 60, second % 60, ordinal % 1000),
            *(int(dice * 5000), visitor % 977, int(chance() * 80), ordinal % 100, user),
            _WORDS[(start := int(dice * 90_000)) : start + _NOTE_BYTES],
        )
