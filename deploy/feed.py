"""The definitions in force, held in memory, from the topic `config`: a change is live everywhere within a second."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.definitions import DEFINITION, AnyDefinition
from schemas.topics import CONFIG
from workflows.actions.action import Registry
from workflows.definitions import Definitions

log = logging.getLogger("headwater.feed")

#: Definitions that are not there after so long miss something, which is asked for, and said so often.
MISSING_S, SAY_EVERY_S = 3.0, 30.0


class Published(msgspec.Struct):
    """One record of `config`: a definition as of a revision; no body where it was removed."""

    revision: int
    body: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(Published).decode


class DefinitionsFeed:
    """Reads `config` on a thread of its own. `current` is None until it has been read to its end once."""

    def __init__(self, kafka: Mapping[str, Any], topic: str, actions: Registry) -> None:
        self.current: Definitions | None = None
        self._topic, self._actions = topic, actions
        self._known: dict[str, AnyDefinition] = {}
        self._revision = 0
        self._loop = asyncio.get_running_loop()
        #: Done when the definitions have been read to their end.
        self.ready: asyncio.Future[None] = self._loop.create_future()
        #: Done, with its exception, when a definition came that this version cannot read: the process must end.
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._stopping = False
        self._consumer = Consumer(
            {
                "group.id": topic.removesuffix(CONFIG.name) + "headwater-definitions",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",  # where the topic was made again
                **kafka,
            }
        )
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        threading.Thread(target=self._run, name="definitions", daemon=True).start()

    def get(self) -> Definitions:
        """The definitions in force; a stage asks only once they are there."""
        if self.current is None:
            raise RuntimeError("the definitions have not been read yet")
        return self.current

    def stop(self) -> None:
        """Read no more: the process ends, and its consumer with it. To close that, of a group that nobody joins, would
        gain nothing, and others have seen librdkafka crash at it (its issue 3608, open)."""
        self._stopping = True

    def _run(self) -> None:
        try:
            say_at = time.monotonic() + MISSING_S
            while not self._stopping:
                self._take(self._consumer.consume(500, 0.3))
                if self.current is None and time.monotonic() > say_at:
                    self._say_what_is_missing()
                    say_at = time.monotonic() + SAY_EVERY_S
        except Exception as error:
            # The process must end: with definitions it cannot read it would judge events by old ones.
            log.exception("the definitions cannot be read")
            self._loop.call_soon_threadsafe(_fail, self.failed, error)

    def _take(self, messages: list[Any]) -> None:
        changed = at_end = False
        for message in messages:
            error = message.error()
            if error is not None:
                at_end |= error.code() == KafkaError._PARTITION_EOF
                continue
            changed = True
            self._apply(message.key().decode(), message.value())
        if (changed and self.current is not None) or (at_end and self.current is None):
            self.current = Definitions(self._known.values(), self._actions, self._revision)
            self._loop.call_soon_threadsafe(_succeed, self.ready)

    def _say_what_is_missing(self) -> None:
        """Who waits for the definitions would not know why: Kafka's client says nothing of a topic that is not there,
        or may not be read."""
        with suppress(KafkaException):  # it is away, which is said elsewhere
            error = self._consumer.list_topics(self._topic, MISSING_S).topics[self._topic].error
            if error is not None:
                log.error("the definitions cannot be read yet: %s", error.str())

    def _apply(self, key: str, value: bytes | None) -> None:
        published = _decode(value) if value else Published(self._revision)
        self._revision = max(self._revision, published.revision)
        if published.body is None:
            self._known.pop(key, None)
        else:
            self._known[key] = DEFINITION.validate_python(published.body)


def _succeed(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: "asyncio.Future[None]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
