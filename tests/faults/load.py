"""The load: threads that send visits over HTTP, each payload until it is answered, with every step in the ledger."""

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from tests.faults.ledger import Ledger, Outcome
from tests.faults.visits import Payload, Session

#: No request may take longer than this, whatever is broken behind the door.
HANG_S = 12.0
#: The share of payloads that are sent once more though they were taken.
AGAIN = 0.02
#: Of the payloads so many are sent through two doors at the same time, where there are two.
BESIDE = 0.1


class Sending(Protocol):
    """Makes payloads, for many threads. A session is its taker's until it is given back."""

    def take(self) -> tuple[Session, Payload]: ...
    def give_back(self, session: Session) -> None: ...


class Load:
    """Sends at `rate` events/s at most, and less while `backlog` says that more waits than `limit`."""

    def __init__(
        self,
        visits: Sending,
        ledger: Ledger,
        door: tuple[str, int],
        rate: float,
        backlog: Callable[[], int] = lambda: 0,
        limit: int = 12_000,
        senders: int = 6,
        again: float = AGAIN,
        other_doors: Sequence[tuple[str, int]] = (),
        judge: bool = True,
        seed: int = 0,
    ) -> None:
        """`again` is the share of payloads that are sent once more, through the `other_doors` too; `judge` says whether
        the verdicts in the answers must be those that the payloads deserve."""
        self._visits, self._ledger, self._door = visits, ledger, door
        self._rate, self._backlog, self._limit, self._again = rate, backlog, limit, again
        self._other_doors, self._judges, self._seed = other_doors, judge, seed
        self._lock = threading.Lock()
        self._due = time.monotonic()
        self._ending, self._given_up = threading.Event(), threading.Event()
        self.acknowledged = 0
        self.statuses: Counter[str] = Counter()
        #: What no client may see: a hang, a 500, a verdict that the payload does not deserve.
        self.dishonest: list[str] = []
        #: When each 2xx came.
        self.taken_at: list[float] = []
        self._threads = [
            threading.Thread(target=self._send_all, args=(number,), name=f"sender-{number}", daemon=True)
            for number in range(senders)
        ]

    def start(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def set_rate(self, rate: float) -> None:
        with self._lock:
            self._rate, self._due = rate, time.monotonic()

    def finish(self, within_s: float = 90) -> None:
        """Take up nothing new, and return when all that was taken up is answered, or time is up."""
        self._ending.set()
        deadline = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._given_up.set()
        for thread in self._threads:
            thread.join()

    def _send_all(self, number: int) -> None:
        try:
            self._send_until_the_end(number)
        except Exception as error:
            self._complain(f"sender {number} ended: {type(error).__name__} {error}")

    def _send_until_the_end(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        client = _Client(self._door)
        others = [client, *map(_Client, self._other_doors)]
        while not self._ending.is_set():
            session, payload = self._visits.take()
            self._wait_turn(payload.events)
            self._ledger.intend(payload.number, payload.body)
            twin = self._send_beside(payload, chance)
            taken = self._send(client, payload)
            if twin is not None:
                twin.join()
            while taken and chance.random() < self._again:
                self._ledger.resend(payload.number)
                self._send(chance.choice(others), payload, count=False)
            self._visits.give_back(session)
        for other in others:
            other.close()

    def _send_beside(self, payload: Payload, chance: random.Random) -> threading.Thread | None:
        """Where there are other doors: now and then the same payload through one of them, at the same time."""
        if not self._other_doors or chance.random() > BESIDE:
            return None
        door = chance.choice(self._other_doors)
        self._ledger.resend(payload.number)

        def send() -> None:
            client = _Client(door)
            self._send(client, payload, count=False)
            client.close()

        twin = threading.Thread(target=send, name="twin", daemon=True)
        twin.start()
        return twin

    def _wait_turn(self, events: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now - 1) + events / self._rate
            wait = self._due - now
        self._ending.wait(max(0.0, wait))
        while self._backlog() > self._limit and not self._ending.is_set():
            time.sleep(0.2)

    def _send(self, client: "_Client", payload: Payload, count: bool = True) -> bool:
        """Send until it is taken or refused for good; whether it was taken."""
        pause = 0.05
        while True:
            outcome = self._send_once(client, payload)
            if outcome != "unknown":
                break
            if self._given_up.wait(pause):
                return False
            pause = min(1.0, pause * 2)
            self._ledger.resend(payload.number)
        if outcome == "ok" and count:
            with self._lock:
                self.acknowledged += payload.events
                self.taken_at.append(time.monotonic())
        return outcome == "ok"

    def _send_once(self, client: "_Client", payload: Payload) -> Outcome:
        started = time.monotonic()
        status, headers, body = client.post(payload.body.encode())
        if (took := time.monotonic() - started) > HANG_S:
            self._complain(f"no answer for {took:.0f} s")
        outcome = self._judge(payload, status, headers, body)
        self.statuses[str(status) if status else "no answer"] += 1
        self._ledger.answer(payload.number, outcome, status)
        return outcome

    def _judge(self, payload: Payload, status: int, headers: Any, body: bytes) -> Outcome:
        # A payload of which nothing is acceptable is kept all the same.
        all_wrong = status == 400 and (payload.refused == payload.events or not self._judges)
        if status in (200, 202) or all_wrong:
            verdicts = [event["status"] for event in json.loads(body)["events"]]
            if self._judges and (len(verdicts), verdicts.count("rejected")) != (payload.events, payload.refused):
                self._complain(f"payload {payload.number}: verdicts {Counter(verdicts)}")
            return "ok"
        if status in (429, 503):
            if not (headers.get("retry-after") or "").isdigit():
                self._complain(f"{status} without Retry-After")
            return "unknown"
        if status:
            self._complain(f"payload {payload.number}: status {status}")
        return "unknown" if not status or status >= 500 else "fail"

    def _complain(self, what: str) -> None:
        with self._lock:
            self.dishonest.append(what)


class _Client:
    """One connection to the door, made anew when it breaks."""

    def __init__(self, door: tuple[str, int]) -> None:
        self._door = door
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes) -> tuple[int, Any, bytes]:
        """Status (0 where no answer came), headers and body."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(*self._door, timeout=HANG_S + 3)
                self._connection.connect()
                self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection.request("POST", "/track", body, {"content-type": "application/json"})
            answer = self._connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return 0, {}, b""

    def close(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
        self._connection = None
