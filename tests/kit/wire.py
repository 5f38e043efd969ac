"""HTTP as bytes on a socket: for what no library would send, and to see what came back to the byte."""

import contextlib
import json
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

#: Stands in what is sent and should never be seen again.
MARK = b"do-not-echo-7f3a"
JSON = b"content-type: application/json"


class Answer(NamedTuple):
    """What came back. `raw` is all of it; headers' names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


def request(
    body: bytes = b"",
    *headers: bytes,
    method: bytes = b"POST",
    path: bytes = b"/track",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"host: door",
    type: bytes | None = JSON,
    sized: bool = True,
) -> bytes:
    """A request as bytes; `sized` gives it the content-length that its body has."""
    own = [host, type, b"content-length: %d" % len(body) if sized else None]
    lines = [b" ".join((method, path, version)), *(line for line in own if line is not None), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


HEALTH = request(method=b"GET", path=b"/health", type=None, sized=False)


class Wire:
    """One connection. Whoever waits for longer than `within_s` gets a TimeoutError: the door hangs."""

    def __init__(self, url: str, within_s: float = 15) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), within_s)
        self._unread = b""

    def send(self, data: bytes) -> None:
        """Who closes early need not read the rest."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def fileno(self) -> int:
        """For select: readable, once there is an answer."""
        return self._socket.fileno()

    def end(self) -> None:
        """Send no more, and go on listening."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def answer(self, has_body: bool = True) -> Answer | None:
        """The next answer; None where the door closed without one."""
        while b"\r\n\r\n" not in self._unread:
            if not self._more():
                return None
        head = self._take(self._unread.index(b"\r\n\r\n") + 4)
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0)) if has_body else 0
        body = self._take(size)
        assert len(body) == size, "the answer was cut off"
        return Answer(int(first.split()[1]), headers, body, head + body)

    def ask(self, data: bytes, has_body: bool = True) -> Answer:
        """Send, and hear what is said to it."""
        self.send(data)
        answer = self.answer(has_body)
        assert answer is not None, "closed without an answer"
        return answer

    def is_closed(self) -> bool:
        """Whether the door closes now, saying nothing more. Waits for it."""
        return not self._unread and not self._more()

    def close(self) -> None:
        self._socket.close()

    def _take(self, size: int) -> bytes:
        """So many bytes; fewer where the door closes before."""
        while len(self._unread) < size and self._more():
            pass
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken

    def _more(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            return False
        self._unread += data
        return bool(data)


def code_of(answer: Answer) -> str:
    """Which error it tells of; "" for none, as where the server itself answers."""
    said = json.loads(answer.body) if answer.body else {}
    return str(said["error"]["code"]) if "error" in said else ""
