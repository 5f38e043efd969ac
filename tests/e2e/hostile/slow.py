"""Clients that are in no hurry: each on a thread, until the door ends it."""

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from tests.kit.wire import HEALTH, Answer, Wire, request

#: Nothing may take longer than a body that never comes, and that has half a minute.
PATIENCE_S = 40
_HALF = b"POST /track HTTP/1.1\r\nhost: door\r\n"
_BODY = request(b"{", b"content-length: 1000", sized=False)
_CHUNKED = request(b"ff\r\n{", b"transfer-encoding: chunked", sized=False)


class Client(NamedTuple):
    """Sends `first`, then `drip` every second."""

    first: bytes
    drip: bytes = b""


class Ended(NamedTuple):
    """What the door said in the end (None: nothing), and after how many seconds it closed; None: it did not."""

    answer: Answer | None
    after_s: float | None


#: By its class in the table of bad input, and what it is.
CLIENTS: Mapping[str, Client] = {
    "59 a body shorter than announced": Client(_BODY),
    "64 the beginning of HTTP/2": Client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"),
    "64 half of the beginning of HTTP/2": Client(b"PRI * HTTP/2"),
    "65 a connection and nothing else": Client(b""),
    "65 half a head": Client(_HALF),
    "65 a header by the byte": Client(_HALF + b"x-slow: ", b"a"),
    "65 a header after the other": Client(_HALF, b"x-slow: a\r\n"),
    "65 empty lines": Client(b"\r\n", b"\r\n"),
    "65 half a head behind a whole request": Client(HEALTH + _HALF),
    "66 a body by the byte": Client(_BODY, b" "),
    "66 a chunk by the byte": Client(_CHUNKED, b" "),
    "66 a chunk after the other": Client(_CHUNKED + b" " * 254 + b"\r\n", b"1\r\n \r\n"),
    "67 idle after a request": Client(HEALTH),
}


class Slow:
    """All of them, from now on."""

    def __init__(self, url: str) -> None:
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(len(CLIENTS))
        self._ended: dict[str, Future[Ended]] = {
            name: self._threads.submit(_run, url, client, self._over) for name, client in CLIENTS.items()
        }

    def ended(self, name: str) -> Ended:
        """How that client's connection ended. Waits for it."""
        return self._ended[name].result()

    def close(self) -> None:
        self._over.set()
        self._threads.shutdown()


def _run(url: str, client: Client, over: threading.Event) -> Ended:
    wire = Wire(url, 1)
    began = time.monotonic()
    wire.send(client.first)
    answer: Answer | None = None
    try:
        while time.monotonic() - began < PATIENCE_S and not over.is_set():
            with contextlib.suppress(socket.timeout):
                heard = wire.answer()
                if heard is None:
                    return Ended(answer, time.monotonic() - began)
                answer = heard
                continue
            wire.send(client.drip)
        return Ended(answer, None)
    finally:
        wire.close()
