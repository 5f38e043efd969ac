"""What was sent and what came back, on disk before the send and after the reply: the only thing the oracle believes."""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

#: What a client can know of a send: it was taken, it was refused for good, or nobody can say.
Outcome = Literal["ok", "fail", "unknown"]


@dataclass(frozen=True)
class Sent:
    """One payload in the ledger: its bytes, and the outcomes of its sends so far (one a send that was answered)."""

    number: str
    body: str
    outcomes: tuple[Outcome, ...]

    @property
    def acknowledged(self) -> bool:
        return "ok" in self.outcomes

    @property
    def possible(self) -> bool:
        """Whether Kafka may have it: some send was not refused."""
        return self.acknowledged or "unknown" in self.outcomes or not self.outcomes


class Ledger:
    """An append-only JSONL file. `intend` returns when its line is on disk; lines of many threads share one sync."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")
        self._lines: list[bytes] = []
        self._changed = threading.Condition()
        self._added = self._synced = 0
        self._closed = False
        #: Why nothing can be written any more.
        self._failed: OSError | None = None
        self._writer = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._writer.start()

    def intend(self, number: str, body: str) -> None:
        """To be called before the payload is sent, each time. Returns when that is on disk."""
        with self._changed:
            ticket = self._add({"send": number, "body": body})
            self._wait(ticket)

    def intend_all(self, payloads: Iterable[tuple[str, str]]) -> None:
        """As `intend`, of many payloads (number and body) that are sent after that."""
        with self._changed:
            ticket = 0
            for number, body in payloads:
                ticket = self._add({"send": number, "body": body})
            self._wait(ticket)

    def resend(self, number: str) -> None:
        """As `intend`, of a payload whose bytes the ledger has."""
        with self._changed:
            ticket = self._add({"send": number})
            self._wait(ticket)

    def answer(self, number: str, outcome: Outcome, status: int) -> None:
        """What came back."""
        with self._changed:
            self._add({outcome: number, "status": status})

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._writer.join()
        self._file.close()

    def _wait(self, ticket: int) -> None:
        self._changed.wait_for(lambda: self._synced >= ticket)
        if self._failed is not None:
            raise self._failed

    def _add(self, entry: dict[str, Any]) -> int:
        self._lines.append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._added += 1
        self._changed.notify_all()
        return self._added

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                lines, self._lines, ticket = self._lines, [], self._added
                if not lines:
                    return
            try:
                self._file.write(b"".join(lines))
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                self._failed = error
            with self._changed:
                self._synced = ticket
                self._changed.notify_all()


def read_ledger(path: Path) -> Iterator[Sent]:
    """Every payload of a ledger. A last line that a crash cut short was never synced, so nothing depended on it."""
    bodies: dict[str, str] = {}
    outcomes: dict[str, list[Outcome]] = {}
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            if "send" in entry:
                bodies.setdefault(entry["send"], entry.get("body", ""))
            else:
                ((outcome, number),) = ((name, value) for name, value in entry.items() if name != "status")
                outcomes.setdefault(number, []).append(outcome)
    for number, body in bodies.items():
        yield Sent(number, body, tuple(outcomes.get(number, ())))
