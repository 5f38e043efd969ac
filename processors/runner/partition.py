"""What a lane reads: batches, and the partition that they are of."""

from dataclasses import dataclass
from typing import Any, Protocol


class ReadBatch(Protocol):
    """What the transport hands over."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def records(self) -> list[Any]: ...
    @property
    def topic_id(self) -> str: ...


class Log(Protocol):
    """The partition that the lane reads, as far as it must ask about it."""

    async def committed(self) -> int | None:
        """The position that Kafka has for this consumer group, None where it has none."""

    async def beginning(self) -> int:
        """The first offset that still exists."""

    async def end(self) -> int:
        """The offset that the next record will have."""

    async def topic_id(self) -> str:
        """The id that Kafka gave the topic when it was made."""

    def seek(self, offset: int) -> None:
        """Read on from there; batches read before are of no use any more."""

    def stored(self, offset: int) -> None:
        """Everything below is done."""


@dataclass(frozen=True)
class _Part:
    """Some records of a batch, in order; `end` is where the next part begins."""

    start: int
    end: int
    records: list[Any]
    topic_id: str


def halves(batch: ReadBatch) -> tuple[ReadBatch, ReadBatch]:
    """A batch of at least two records as two."""
    middle = len(batch.records) // 2
    first, rest = batch.records[:middle], batch.records[middle:]
    between = int(first[-1].offset) + 1
    return _Part(batch.start, between, first, batch.topic_id), _Part(between, batch.end, rest, batch.topic_id)
