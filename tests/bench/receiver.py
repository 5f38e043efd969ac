"""The other end of a webhook that answers 200 as fast as it can: a process of its own."""

import asyncio
import multiprocessing
import re
import socket

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class _Answers(asyncio.Protocol):
    """Requests one after another on a connection that stays."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._got = transport, b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._got[: end + 2])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._got) < whole:
                return
            self._got = self._got[whole:]
            self._transport.write(_ANSWER)  # type: ignore[attr-defined]


class Receiver:
    """Runs until it is closed."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._process = multiprocessing.get_context("fork").Process(target=_serve, args=(self._socket,), daemon=True)
        self._process.start()

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._socket.close()


def _serve(listening: socket.socket) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Answers, sock=listening)
        await server.serve_forever()

    uvloop.run(serve())
