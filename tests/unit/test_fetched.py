"""What lanes get of a record is what aiokafka read of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from processors.runner.fetched import Fetched, hand_on_lean

PLACE = TopicPartition("tracks", 3)
RECORDS: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
    (b"key", b"value", []),
    (None, b"without a key", [("headwater-hops", b"1"), ("empty", None)]),
    (b"deleted", None, []),
    (b"", b"", [("same", b"1"), ("same", b"2")]),
]


def fetched() -> FetchResult:
    """As aiokafka keeps what it has fetched: a compressed batch."""
    batch = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=3,  # LZ4
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10_000,
    )
    for offset, (key, value, headers) in enumerate(RECORDS):
        batch.append(offset, 1_700_000_000_000 + offset, key, value, headers)
    state = SimpleNamespace(paused=False, position=0, consumed_to=lambda offset: None)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    records = PartitionRecords(PLACE, MemoryRecords(bytes(batch.build())), [], 0, None, None, True, READ_COMMITTED)
    return FetchResult(PLACE, assignment=assignment, partition_records=records, backoff=0.1)


@pytest.mark.parametrize("already", [True, False], ids=["had it before", "gets it later"])
def test_lanes_get_what_aiokafka_makes_of_records(already: bool):
    fetcher: Any = SimpleNamespace(_records={PLACE: fetched()} if already else {})
    hand_on_lean(fetcher)
    if not already:
        fetcher._records[PLACE] = fetched()

    found, theirs = fetcher._records[PLACE].getall(), fetched().getall()

    assert all(type(record) is Fetched for record in found)
    names = Fetched.__struct_fields__
    assert [[getattr(r, n) for n in names] for r in found] == [[getattr(r, n) for n in names] for r in theirs]
    assert [(record.key, record.value, list(record.headers)) for record in found] == RECORDS


def test_an_error_stays_an_error():
    fetcher: Any = SimpleNamespace(_records={})
    hand_on_lean(fetcher)
    fetcher._records[PLACE] = FetchError(error=KafkaError(), backoff=0.1)
    with pytest.raises(KafkaError):
        fetcher._records[PLACE].check_raise()
