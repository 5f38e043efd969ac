"""What must be, from the ledger and the definitions' meaning alone. Imports nothing of the product."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.definitions import FREQUENT_ABOVE, SPENDER_FROM
from tests.faults.ledger import Sent

Identifier = tuple[str, str]


@dataclass
class Person:
    """One person as they must be in the end: all sessions that their identifiers tie together, and their sums."""

    sessions: set[str] = field(default_factory=set)
    identifiers: set[Identifier] = field(default_factory=set)
    counters: Counter[str] = field(default_factory=Counter)
    amount: int = 0
    #: (time, event id) to the value that this purchase carried; the last one stays.
    last: tuple[str, str, int] | None = None
    watched: bool = False

    @property
    def segments(self) -> set[str]:
        found = {"frequent"} if self.counters["purchase"] > FREQUENT_ABOVE else set()
        return found | ({"spender"} if self.counters["purchase"] and self.amount >= SPENDER_FROM else set())


@dataclass
class Expected:
    """The whole of it."""

    #: Valid events that were acknowledged, and those that may or may not have been taken.
    acknowledged: set[str] = field(default_factory=set)
    possible: set[str] = field(default_factory=set)
    #: Events that their schema rejects.
    refused: set[str] = field(default_factory=set)
    refused_acknowledged: set[str] = field(default_factory=set)
    alerts: set[str] = field(default_factory=set)
    persons: list[Person] = field(default_factory=list)
    #: Events in payloads that got a 2xx, each once.
    events_acknowledged: int = 0


def expect(sent: Iterable[Sent], landed: set[str]) -> Expected:
    """What must be there, where of the sends without an answer those in `landed` (event ids) reached Kafka."""
    expected = Expected()
    union = _Union()
    counted: list[tuple[str, dict[str, Any]]] = []
    for payload in sent:
        if not payload.possible:
            continue
        body = json.loads(payload.body)
        session = body["session"]["id"]
        expected.events_acknowledged += len(body["events"]) if payload.acknowledged else 0
        for event in body["events"]:
            if _file(expected, event, payload.acknowledged) and (payload.acknowledged or event["id"] in landed):
                counted.append((session, event))
                for identifier in identifiers(event):
                    union.join(("session", session), identifier)
    persons: defaultdict[Any, Person] = defaultdict(Person)
    for session, event in counted:
        person = persons[union.find(("session", session))]
        person.sessions.add(session)
        person.identifiers.update(identifiers(event))
        _count(person, event)
        if event["type"] == "alert":
            expected.alerts.add(event["id"])
    expected.persons = list(persons.values())
    return expected


def rejected(event: dict[str, Any]) -> bool:
    """Whether the event type's schema rejects it."""
    amount = event["properties"].get("amount")
    return event["type"] == "purchase" and not (type(amount) is int and amount >= 1)


def identifiers(event: dict[str, Any]) -> list[Identifier]:
    """The identifiers that the identification point finds in it, normalised."""
    if event["type"] != "login":
        return []
    properties = event["properties"]
    found = [("member", properties["member"].strip())] if "member" in properties else []
    return found + ([("email", properties["email"].strip().lower())] if "email" in properties else [])


def _file(expected: Expected, event: dict[str, Any], acknowledged: bool) -> bool:
    """Note the event among those of its kind; whether it is a valid one."""
    if rejected(event):
        expected.refused.add(event["id"])
        if acknowledged:
            expected.refused_acknowledged.add(event["id"])
        return False
    expected.possible.add(event["id"])
    if acknowledged:
        expected.acknowledged.add(event["id"])
    return True


def _count(person: Person, event: dict[str, Any]) -> None:
    type, properties = event["type"], event["properties"]
    person.counters[type] += 1
    if type == "alert":
        person.counters["alert-noted"] += 1  # the workflow emits one for each
    elif type == "login":
        person.watched = person.watched or properties.get("watched") == "yes"
    elif type == "purchase":
        person.amount += properties["amount"]
        # All timestamps are written the same way, so that text sorts as time does.
        this = (event["timestamp"], event["id"], properties["seq"])
        person.last = max(person.last or this, this)


class _Union:
    """Union-find."""

    def __init__(self) -> None:
        self._parents: dict[Any, Any] = {}

    def find(self, one: Any) -> Any:
        self._parents.setdefault(one, one)
        while self._parents[one] != one:
            self._parents[one] = self._parents[self._parents[one]]
            one = self._parents[one]
        return one

    def join(self, one: Any, other: Any) -> None:
        self._parents[self.find(one)] = self.find(other)
