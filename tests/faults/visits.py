"""The seeded visitors: people with several sessions each, sessions with several payloads, all from the seed alone."""

import json
import random
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.definitions import CANARY

#: Sessions open at a time; one is with one sender at a time, so its payloads go out one after another.
OPEN = 120
_BEGINNING = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass
class Payload:
    """One payload: what a visitor sends at once. `number` is its own among all loads of a run; `events` is how many it
    holds, `refused` how many of them are wrong."""

    number: str
    key: str
    body: str
    events: int
    refused: int


@dataclass
class Session:
    """A visit. Its content follows from the seed and its name, whatever the others do."""

    name: str
    person: int
    chance: random.Random
    left: int
    seq: int = 0
    begins: datetime = field(default=_BEGINNING)


class Visits:
    """Makes payloads. Safe to use from many threads."""

    def __init__(self, seed: int, run: str = "s", poisoned: float = 0.01, big: range = range(5, 16)) -> None:
        """`run` is in all ids; `poisoned` is the share of events that a schema rejects; `big` a payload's events."""
        self._seed, self._run, self._poisoned, self._big = seed, run, poisoned, big
        self._chance = random.Random(f"{seed}/{run}")
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._sessions = self._payloads = 0

    def take(self) -> tuple[Session, Payload]:
        """The next payload of some session. The session is the caller's until `give_back`."""
        with self._lock:
            while len(self._idle) < OPEN:
                self._idle.append(self._open())
            session = self._idle.pop(self._chance.randrange(len(self._idle)))
            self._payloads += 1
            number = f"{self._run}{self._payloads}"
        return session, self._payload(session, number)

    def give_back(self, session: Session) -> None:
        """What the session sent was answered: it may go on."""
        if session.left:
            with self._lock:
                self._idle.append(session)

    def _open(self) -> Session:
        number = self._sessions
        self._sessions += 1
        chance = random.Random(f"{self._seed}/{self._run}/{number}")
        # Four sessions a person, spread over the run, so that people become known while others are being sent.
        person = number // (4 * OPEN) * OPEN + number % OPEN
        begins = _BEGINNING + timedelta(minutes=number)
        return Session(f"{self._run}{self._seed}-{number}", person, chance, chance.randint(3, 7), begins=begins)

    def _payload(self, session: Session, number: str) -> Payload:
        session.left -= 1
        events, refused = [], 0
        for _ in range(session.chance.choice(self._big)):
            session.seq += 1
            event = self._event(session)
            refused += event["properties"].get("amount") == "much"
            events.append(event)
        body = {"source": {"id": "shop"}, "session": {"id": session.name}, "events": events}
        return Payload(number, session.name, json.dumps(body, separators=(",", ":")), len(events), refused)

    def _event(self, session: Session) -> dict[str, Any]:
        chance, id = session.chance, f"{session.name}.{session.seq}"
        at = session.begins + timedelta(seconds=session.seq)
        event: dict[str, Any] = {"id": id, "timestamp": at.isoformat()}
        kind = chance.random()
        if kind < self._poisoned:
            return event | {"type": "purchase", "properties": {"amount": "much", "seq": session.seq, "note": CANARY}}
        if kind < 0.21:
            return event | {"type": "login", "properties": self._names(session)}
        if kind < 0.22:
            return event | {"type": "alert", "properties": {"name": id}}
        if kind < 0.62:
            properties = {"amount": chance.randint(1, 99), "seq": session.seq, "note": f"{CANARY}-{chance.random()}"}
            return event | {"type": "purchase", "properties": properties}
        return event | {"type": "page-view", "properties": {"page": f"/p/{chance.randrange(500)}"}}

    def _names(self, session: Session) -> dict[str, str]:
        """Who logs in: by member number, by e-mail (in any case), or by both."""
        person = f"{self._run}{self._seed}-p{session.person}"
        names = {"watched": "yes"} if session.person % 20 == 0 else {}
        how = session.chance.random()
        if how < 0.7:
            names["member"] = person
        if how > 0.5:
            email = f"{person}@{CANARY}.example.com"
            names["email"] = email.upper() if how > 0.8 else email
        return names
