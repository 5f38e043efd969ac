"""A TCP proxy whose manners can be changed: in front of Kafka, PostgreSQL or a webhook."""

import asyncio
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from typing import Literal

#: pass; a blackhole (connections are accepted, nothing is read any more in either direction); swallow what the server
#: answers; answer with half a reply and then reset.
Manner = Literal["pass", "blackhole", "swallow", "half"]


@dataclass(eq=False)
class _Connection:
    to_server: asyncio.StreamWriter
    to_client: asyncio.StreamWriter


class Proxy:
    """Listens on a port of its own from the start; its connections live on a thread. To be closed."""

    def __init__(self, server: Callable[[], tuple[str, int]], port: int = 0) -> None:
        """`server` is asked at each connection: servers may move."""
        self._server, self._wanted_port = server, port
        self._manner: Manner = "pass"
        self.latency_s = 0.0
        #: Connections that were broken by `cut` or by a half reply.
        self.broken = 0
        self._connections: set[_Connection] = set()
        self._changed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def manner(self) -> Manner:
        return self._manner

    @manner.setter
    def manner(self, manner: Manner) -> None:
        self._manner = manner
        self._loop.call_soon_threadsafe(self._tell)

    def cut(self) -> int:
        """Reset all connections; how many there were."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def close(self) -> None:
        self.manner = "pass"
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self._wanted_port))
        self.port: int = listening.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        listening.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def _tell(self) -> None:
        self._changed.set()
        self._changed.clear()

    async def _cut(self) -> int:
        broken = list(self._connections)
        for connection in broken:
            _reset(connection.to_client)
            _reset(connection.to_server)
        self.broken += len(broken)
        return len(broken)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(*self._server())
        except OSError:
            _reset(to_client)
            return
        connection = _Connection(to_server, to_client)
        ways = (self._pump(from_client, to_server, False), self._pump(from_server, to_client, True))
        tasks = [asyncio.ensure_future(way) for way in ways]
        self._connections.add(connection)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connections.discard(connection)
            for task in tasks:
                task.cancel()
            for writer in (to_client, to_server):
                with suppress(OSError):
                    writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                while self._manner == "blackhole":
                    await self._changed.wait()
                if answers and self._manner == "swallow":
                    continue
                if answers and self._manner == "half":
                    writer.write(data[: max(1, len(data) // 2)])
                    await writer.drain()
                    self.broken += 1
                    _reset(writer)
                    return
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a broken network does: RST, no goodbye."""
    with suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
