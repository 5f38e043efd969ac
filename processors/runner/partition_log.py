"""The partition that a lane reads: what Kafka says of it, and where its worker's consumer reads on."""

from typing import Protocol

from aiokafka.errors import KafkaError
from faust.types import TP

from processors.runner.failures import Unavailable
from processors.runner.transport import BatchConsumer


class Administers(Protocol):
    """What lanes ask Kafka beside their consumer. Topics by their full names; raises Unavailable."""

    async def topic_id(self, name: str) -> str: ...
    async def beginning(self, name: str, partition: int) -> int: ...
    async def committed_by(self, group: str, name: str, partition: int) -> int | None: ...


class PartitionLog:
    """The partition of a lane."""

    def __init__(self, consumer: BatchConsumer, tp: TP, admin: Administers, group: str) -> None:
        self._consumer, self._tp, self._admin, self._group = consumer, tp, admin, group

    async def committed(self) -> int | None:
        """Not asked of the consumer: aiokafka takes a coordinator's refusal for an answer without positions."""
        return await self._admin.committed_by(self._group, self._tp.topic, self._tp.partition)

    async def beginning(self) -> int:
        return await self._admin.beginning(self._tp.topic, self._tp.partition)

    async def end(self) -> int:
        try:
            return int((await self._consumer.highwaters(self._tp))[self._tp])
        except KafkaError as error:
            raise Unavailable("kafka") from error

    async def topic_id(self) -> str:
        return await self._admin.topic_id(self._tp.topic)

    def seek(self, offset: int) -> None:
        self._consumer.request_seek(self._tp, offset)

    def stored(self, offset: int) -> None:
        self._consumer.stored(self._tp, offset)
