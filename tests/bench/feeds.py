"""What a load sends: payloads one after another, as bytes."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from deploy.demo import payload, read_purchases

CDNOW = Path(__file__).parents[1] / "data" / "cdnow.txt"


class Payload(NamedTuple):
    """A payload, its key in `tracks`, and how many events it holds."""

    key: bytes
    body: bytes
    events: int


class Feed(Protocol):
    """Payloads without end."""

    def next(self) -> Payload: ...


class Prepared:
    """The first payloads of another feed over and over, made before any is sent: for who does not look whether a
    payload is new, so that making them takes nothing from the cores that it runs on."""

    def __init__(self, feed: Callable[[], Feed], payloads: int) -> None:
        source = feed()
        self._payloads = cycle([source.next() for _ in range(payloads)])

    def next(self) -> Payload:
        return next(self._payloads)


class Purchases:
    """The demo's purchases, a page-view and an order each; at the end they begin anew, as other customers'."""

    def __init__(self) -> None:
        self._purchases, self._number = read_purchases(CDNOW), 0

    def next(self) -> Payload:
        lap, row = divmod(self._number, len(self._purchases))
        self._number += 1
        made = payload(self._purchases[row])
        if lap:
            made["session"]["id"] += f"-{lap}"
            made["events"][1]["properties"]["customer"]["id"] += f"-{lap}"
            for event in made["events"]:
                event["id"] += f"-{lap}"
        return Payload(made["session"]["id"].encode(), msgspec.json.encode(made), len(made["events"]))
