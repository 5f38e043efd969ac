"""A stock Faust agent doing a step of ours, in a process of its own: what the runner is compared with.

Run as `python -m tests.bench.stock_agent STEP MODE COUNT`; by `take` a COUNT of whole takes: the last one would wait.
It keeps no position of its own, no outbox and no count of what came in, so it does less than the runner.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust
import psycopg
import uvloop

from deploy.feed import DefinitionsFeed
from deploy.kafka import client_config
from deploy.keys import identity_key, profile_ids
from deploy.settings import Settings, load_settings
from processors.runner.attempt import to_record
from processors.runner.transport import BatchApp
from processors.steps.persist import persist
from processors.steps.validate import validate
from processors.storage.erasures import Erasures
from processors.storage.events import Counters, Events
from processors.storage.measures import Measures
from processors.storage.profiles import Profiles
from processors.storage.windows import Windows
from schemas.codecs import Message
from schemas.topics import CONFIG, EVENTS_IDENTIFIED, TRACKS, Topic, topic_of
from workflows.actions.builtin import load_actions
from workflows.replays import Replays

TAKE = 1000
#: The clock starts when so many are done: to begin is not what a step costs. COUNT is more.
BEGUN = 500

Step = Callable[[Sequence[Any]], Awaitable[list[Message]]]


class _NoCounts:
    async def accept(self, partition: int, events: Any) -> None:
        """Nothing is counted."""


def _encoded(models: Sequence[Any]) -> list[Message]:
    return [topic_of(model).encode(model) for model in models]


async def _validate_step(settings: Settings) -> Step:
    feed = DefinitionsFeed(client_config(settings), settings.topic_prefix + CONFIG.name, load_actions())
    await feed.ready
    tools: dict[str, Any] = {
        "partition": 0,
        "definitions": feed.get(),
        "profile_ids": profile_ids(settings),
        "replays": Replays(identity_key(settings)),
        "replayed": None,
        "counts": _NoCounts(),
        "locate": lambda address: {},
    }

    async def step(models: Sequence[Any]) -> list[Message]:
        return _encoded(await validate(models, **tools))

    return step


async def _persist_step(settings: Settings) -> Step:
    connection = await psycopg.AsyncConnection.connect(settings.database_url, prepare_threshold=1)
    feed = DefinitionsFeed(client_config(settings), settings.topic_prefix + CONFIG.name, load_actions())
    await feed.ready
    storage = [tool(connection) for tool in (Profiles, Events, Counters, Windows, Erasures, Measures)]

    async def step(models: Sequence[Any]) -> list[Message]:
        async with connection.transaction():
            out = await persist(models, 0, *storage, feed.get())
        await connection.commit()
        return _encoded(out)

    return step


class Stock:
    """The app, its agent, and how far it has come."""

    def __init__(self, settings: Settings, topic: Topic, step: Step, count: int) -> None:
        self._settings, self._topic, self._step, self._count = settings, topic, step, count
        self._done, self._first, self._started, self._cpu = 0, 0, 0.0, 0.0
        self._sending: list[Awaitable[Any]] = []
        self.through = asyncio.Event()
        self.app = faust.App(
            f"{settings.topic_prefix}stock-{topic.name}-{time.time_ns()}",
            broker="kafka://" + settings.kafka,
            store="memory://",
            datadir=str(settings.data.parent / "stock"),
            topic_disable_leader=True,
            web_enabled=False,
            consumer_auto_offset_reset="earliest",
            key_serializer="raw",
            value_serializer="raw",
        )
        self.app.BootStrategy = BatchApp.BootStrategy  # no web server
        self.reads = self.app.topic(settings.topic_prefix + topic.name, key_type=None, value_type=None)
        self.writes = self.app.topic(settings.topic_prefix + "stock-out", key_type=None, value_type=None)

    def per_event(self) -> None:
        @self.app.agent(self.reads)
        async def one_by_one(stream: Any) -> None:
            async for event in stream.events():
                await self._handle([event])

    def take(self) -> None:
        @self.app.agent(self.reads)
        async def by_the_thousand(stream: Any) -> None:
            async for events in stream.take_events(TAKE, within=0.5):
                await self._handle(events)

    async def _handle(self, events: Sequence[Any]) -> None:
        models = [self._topic.codec.decode(to_record(_Read(event.message), self._topic.name)) for event in events]
        for message in await self._step(models):
            self._sending.append(await self.writes.send(key=message.key, value=message.value))
        self._done += len(events)
        if len(self._sending) >= TAKE or self._done >= self._count:
            await asyncio.gather(*self._sending)
            self._sending.clear()
        if not self._started and self._done >= BEGUN:
            self._started, self._cpu, self._first = time.monotonic(), time.process_time(), self._done
        if self._done >= self._count:
            self.through.set()

    def figure(self) -> dict[str, float]:
        seconds, records = time.monotonic() - self._started, self._done - self._first
        cpu = time.process_time() - self._cpu
        return {"records_per_s": records / seconds, "worker_us": 1e6 * cpu / records}


class _Read:
    """Faust's message under the names that a consumer record has."""

    def __init__(self, message: Any) -> None:
        self.partition, self.offset, self.headers = message.partition, message.offset, message.headers
        self.timestamp, self.key, self.value = int(message.timestamp * 1000), message.key, message.value


async def _main(name: str, mode: str, count: int) -> None:
    settings = load_settings()
    made, topic = {"validate": (_validate_step, TRACKS), "persist": (_persist_step, EVENTS_IDENTIFIED)}[name]
    stock = Stock(settings, topic, await made(settings), count)
    stock.take() if mode == "take" else stock.per_event()
    await stock.app.start()
    await stock.through.wait()
    print(json.dumps(stock.figure()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
