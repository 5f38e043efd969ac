"""The other end of a webhook: remembers every call by its idempotency key, and behaves as it is told."""

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from tests.faults.observed import Call, whole

#: ok; a 500; an answer after `delay_s`; no answer; a connection reset when the body was read; 400, never.
Behaviour = Literal["ok", "fail", "slow", "hang", "reset"]


class Receiver:
    """Listens from the start. To be closed."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = "ok"
        self.delay_s = 5.0
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def remember(self, key: str, body: bytes, taken: bool) -> None:
        said = json.loads(body)
        content = said["body"]
        call = Call(
            key=key,
            profile=said["profile"],
            version=said["version"],
            body=body.decode(),
            name=content["properties"]["name"] if "event" in content else "",
            purchases=whole(content.get("purchases")),
            amount=whole(content.get("amount")),
            taken=taken,
        )
        with self._lock:
            self.calls.append(call)

    def close(self) -> None:
        self.behaviour = "ok"
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the caller died in the middle of it
                self.close_connection = True
                return
            behaviour = receiver.behaviour
            receiver.remember(self.headers["idempotency-key"], body, behaviour in ("ok", "slow"))
            if behaviour == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            if behaviour == "slow":
                time.sleep(receiver.delay_s)
            while behaviour == "hang" and receiver.behaviour == "hang":
                time.sleep(0.1)
            self.send_response(200 if behaviour in ("ok", "slow") else 500)
            self.send_header("content-length", "0")
            self.end_headers()

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the caller gave up
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler
