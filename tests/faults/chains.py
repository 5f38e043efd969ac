"""People who become known link by link: identity chains and knots, in any order."""

import json
import random
import threading
from typing import Any

from tests.faults.visits import Payload, Session


class Chains:
    """Logins only, each by two names: neighbours of a chain. All chains of so many links are sent in a random order, so
    every chain becomes one person only with its last links. Every session is a single payload."""

    def __init__(self, seed: int, run: str, links: int = 200, shuffled: int = 20, tangled: bool = False) -> None:
        """So many chains are on the way at a time. `tangled`: each login is sent a second time, names the other way
        round, from another session, at about the same time."""
        self._seed, self._run, self._links, self._shuffled = seed, run, links, shuffled
        self._tangled = tangled
        self._chance = random.Random(f"{seed}/{run}")
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, int]] = []
        self._chains = self._number = 0

    def take(self) -> tuple[Session, Payload]:
        with self._lock:
            if not self._waiting:
                self._waiting = self._more()
            chain, link = self._waiting.pop()
            self._number += 1
            number = self._number
        name = f"{self._run}{self._seed}-{number}"
        names = [f"{self._run}{self._seed}-c{chain}-{link + end}" for end in (0, 1)]
        # Odd places of a chain are member numbers, even ones e-mails: neighbours always differ in kind.
        member, email = names if link % 2 else reversed(names)
        properties: dict[str, Any] = {"member": member, "email": f"{email}@example.com"}
        events = [
            {"id": f"{name}.1", "timestamp": "2026-01-05T00:00:00+00:00", "type": "login", "properties": properties},
            {
                "id": f"{name}.2",
                "timestamp": f"2026-01-06T00:00:{link % 60:02}+00:00",
                "type": "purchase",
                "properties": {"amount": link + 1, "seq": number},
            },
        ]
        body = {"source": {"id": "shop"}, "session": {"id": name}, "events": events}
        payload = Payload(name, name, json.dumps(body, separators=(",", ":")), len(events), 0)
        return Session(name, chain, self._chance, 0), payload

    def give_back(self, session: Session) -> None:
        """Every session has one payload."""

    def _more(self) -> list[tuple[int, int]]:
        chains = range(self._chains, self._chains + self._shuffled)
        self._chains += self._shuffled
        found = [(chain, link) for chain in chains for link in range(self._links)]
        self._chance.shuffle(found)
        # A twin lies right behind its original, so that two senders have them at the same time.
        return [one for one in found for _ in range(2 if self._tangled else 1)]
