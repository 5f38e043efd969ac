"""The partition that a lane reads, asked through its worker's consumer."""

from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError
from faust.types import TP

from processors.runner.failures import Unavailable
from processors.runner.transport import BatchConsumer


class PartitionLog:
    """The partition of a lane, asked through the worker's consumer."""

    def __init__(self, consumer: BatchConsumer, tp: TP, topic_id: Callable[[str], Awaitable[str]]) -> None:
        self._consumer, self._tp, self._topic_id = consumer, tp, topic_id

    async def committed(self) -> int | None:
        thread = self._consumer._thread
        try:
            committed: int | None = await thread.call_thread(thread._ensure_consumer().committed, self._tp)
        except KafkaError as error:
            raise Unavailable("kafka") from error
        return committed

    async def beginning(self) -> int:
        try:
            return int((await self._consumer.earliest_offsets(self._tp))[self._tp])
        except KafkaError as error:
            raise Unavailable("kafka") from error

    async def end(self) -> int:
        try:
            return int((await self._consumer.highwaters(self._tp))[self._tp])
        except KafkaError as error:
            raise Unavailable("kafka") from error

    async def topic_id(self) -> str:
        return await self._topic_id(self._tp.topic)

    def seek(self, offset: int) -> None:
        self._consumer.request_seek(self._tp, offset)

    def stored(self, offset: int) -> None:
        self._consumer.stored(self._tp, offset)
