"""The load: a process of its own that posts payloads to the door over kept connections, and times each answer."""

import asyncio
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, cast

import uvloop

from deploy.embedded.process import wait_until
from tests.bench.feeds import Feed, Payload

#: A sender that fell behind makes up for at most this many seconds.
CATCH_UP_S = 0.25
TICK_S = 0.005

_context = multiprocessing.get_context("spawn")


class Sent(NamedTuple):
    """What became of the requests of a span of time; latencies in seconds, sorted."""

    requests: int
    events: int
    seconds: float
    latencies: Sequence[float]
    refused: int

    def quantile_ms(self, share: float) -> float:
        """The latency that this share of the answers stayed below."""
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class HttpLoad:
    """Sends from `start` until `stop`. `rate` is events a second, 0 for as many as the connections get through."""

    def __init__(self, port: int, connections: int, feed: Callable[[], Feed], rate: float = 0) -> None:
        self._pipe, theirs = _context.Pipe()
        #: Set to 1 to make it wait; the events that have been acknowledged so far.
        self.paused, self.acknowledged = _context.Value("b", 0, lock=False), _context.Value("q", 0, lock=False)
        arguments = (theirs, port, connections, feed, rate, self.paused, self.acknowledged)
        self._process = _context.Process(target=_run, args=arguments, daemon=True, name="load")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def start(self) -> "HttpLoad":
        self._process.start()
        return self

    def await_answers(self) -> "HttpLoad":
        """It takes some seconds until its payloads are made."""
        assert wait_until(lambda: self.acknowledged.value > 0, 60), "the door takes nothing"
        return self

    def mark(self) -> None:
        """Forget what was measured so far: what came before was warming up."""
        self._pipe.send("mark")

    def stop(self) -> Sent:
        """End it; what became of the requests since the last mark."""
        self._pipe.send("stop")
        assert self._pipe.poll(60), "the load does not end"
        sent: Sent = self._pipe.recv()
        self._process.join()
        assert sent.requests, "the door took nothing"
        return sent


def _run(
    pipe: Connection, port: int, connections: int, feed: Callable[[], Feed], rate: float, paused: Any, acknowledged: Any
) -> None:
    if sys.platform == "linux":  # who sends is nobody's child of ours, and waits for no turn
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    uvloop.run(_Sender(pipe, feed(), rate, paused, acknowledged).run(port, connections))


class _Sender:
    def __init__(self, pipe: Connection, feed: Feed, rate: float, paused: Any, acknowledged: Any) -> None:
        self._pipe, self._feed, self._rate = pipe, feed, rate
        self._paused, self._acknowledged = paused, acknowledged
        self._idle: deque[_Connection] = deque()
        self._due = time.perf_counter()
        self._stopping = False
        self._missing = 0
        self._forget()

    def _forget(self) -> None:
        self._marked, self._latencies, self._events, self._refused = time.perf_counter(), list[float](), 0, 0

    async def run(self, port: int, connections: int) -> None:
        self._missing = connections
        while not self._stopping:
            while self._pipe.poll():
                if self._pipe.recv() == "mark":
                    self._forget()
                else:
                    self._stopping = True
            while self._missing and not self._paused.value:
                self._missing -= 1
                await asyncio.get_running_loop().create_connection(lambda: _Connection(self), "127.0.0.1", port)
            self._send_from_idle()
            await asyncio.sleep(TICK_S)
        seconds = time.perf_counter() - self._marked
        latencies = sorted(self._latencies)
        self._pipe.send(Sent(len(latencies), self._events, seconds, latencies, self._refused))

    def _send_from_idle(self) -> None:
        self._due = max(self._due, time.perf_counter() - CATCH_UP_S)
        while self._idle and self.may_send():
            self._idle.popleft().send(self.take())

    def may_send(self) -> bool:
        return not (self._stopping or self._paused.value) and (not self._rate or self._due <= time.perf_counter())

    def take(self) -> Payload:
        payload = self._feed.next()
        if self._rate:
            self._due += payload.events / self._rate
        return payload

    def answered(self, connection: "_Connection", status: bytes, started: float, events: int) -> None:
        if status == b"200":
            self._latencies.append(time.perf_counter() - started)
            self._events += events
            self._acknowledged.value += events
        else:
            self._refused += 1
        if self.may_send():
            connection.send(self.take())
        else:
            self._idle.append(connection)

    def connected(self, connection: "_Connection") -> None:
        self._idle.append(connection)

    def lost(self, connection: "_Connection") -> None:
        """The door ends what is idle for long, say while the load is paused: another is made when it is wanted."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._missing += 1


class _Connection(asyncio.Protocol):
    """One kept connection, a request at a time. It reads as much of HTTP as the door's answers need."""

    def __init__(self, sender: _Sender) -> None:
        self._sender, self._received = sender, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._sender.connected(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._sender.lost(self)

    def send(self, payload: Payload) -> None:
        self._started, self._events = time.perf_counter(), payload.events
        head = b"POST /track HTTP/1.1\r\nhost: door\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(payload.body) + payload.body)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._received.find(b"content-length: ") + 16
        length = int(self._received[at : self._received.find(b"\r\n", at)])
        if len(self._received) >= head + 4 + length:
            status, self._received = self._received[9:12], b""
            self._sender.answered(self, status, self._started, self._events)
