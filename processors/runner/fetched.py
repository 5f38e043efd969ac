"""Records as lanes want them: aiokafka's own object of each has twice as much in it, and to make it costs as much as
to decompress and check what is in it."""

from collections import OrderedDict
from typing import Any

import msgspec
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.structs import TopicPartition


class Fetched(msgspec.Struct, gc=False):
    """One record. `timestamp` is in milliseconds."""

    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def hand_on_lean(fetcher: Fetcher) -> None:
    """From now on the fetcher hands on `Fetched`."""
    fetcher._records = _Results(fetcher._records)


class _Results(OrderedDict[TopicPartition, Any]):
    """What the fetcher has of each partition: records that are made as they are handed on, or an error."""

    def __setitem__(self, tp: TopicPartition, result: Any) -> None:
        if isinstance(result, FetchResult):
            result._partition_records._consumer_record = _fetched
        super().__setitem__(tp, result)


def _fetched(tp: TopicPartition, record: Any) -> Fetched:
    headers = record.headers
    return Fetched(
        tp.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple(headers) if headers else (),
    )
