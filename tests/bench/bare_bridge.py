"""The least that takes events over HTTP and answers once Kafka has them: what the door is compared with.

Run as `python -m tests.bench.bare_bridge TOPIC PORT` with the door's variables. It parses a body for its key and checks
nothing: no keys, limits, ids, verdicts, metrics or deadlines.
"""

import asyncio
import sys
import threading
from typing import Any

import msgspec
import uvloop
from confluent_kafka import Producer
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from deploy.kafka import client_config
from deploy.settings import load_settings
from ingest.sink import PRODUCER

HEADERS = [("content-type", "application/json")]


class Bridge:
    """An RSGI application. To be made on the loop that serves."""

    def __init__(self, kafka: dict[str, Any], topic: str) -> None:
        self._loop, self._topic = asyncio.get_running_loop(), topic
        self._producer, self._done = (
            Producer({**PRODUCER, "linger.ms": 1, **kafka}),
            list[tuple[asyncio.Future[bool], bool]](),
        )
        threading.Thread(target=self._poll, daemon=True).start()

    async def __call__(self, scope: Any, protocol: Any) -> None:
        body = await protocol()
        future: asyncio.Future[bool] = self._loop.create_future()
        key = msgspec.json.decode(body)["session"]["id"]
        self._producer.produce(self._topic, body, key=key, on_delivery=lambda error, _: self._report(future, not error))
        taken = await future
        protocol.response_bytes(200 if taken else 503, HEADERS, b'{"ok":true}')

    def _report(self, future: "asyncio.Future[bool]", taken: bool) -> None:
        self._done.append((future, taken))
        if len(self._done) == 1:
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        done, self._done = self._done, []
        for future, taken in done:
            future.set_result(taken)

    def _poll(self) -> None:
        while True:
            self._producer.poll(0.2)


async def main(topic: str, port: int) -> None:
    bridge = Bridge(dict(client_config(load_settings())), topic)
    await Server(
        bridge,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    ).serve()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
