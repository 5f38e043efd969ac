"""The door's way to Kafka where Kafka, or the library, does not do as usual. The rest is tested on a real one."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from ingest.sink import Sink, SinkUnavailable


class Producer:
    """In the place of librdkafka's: what is produced is reported at the next flush, by `told`. So many are `away`."""

    def __init__(self, told: Callable[[Any], None]) -> None:
        self._told, self._reports = told, list[Any]()
        #: Seconds that the last bundle was waited for at most.
        self.waited = 0.0
        self.away = 0

    def produce(self, *args: Any, on_delivery: Any, **more: Any) -> None:
        self._reports.append(on_delivery)

    def flush(self, seconds: float) -> int:
        self.waited = seconds
        reports, self._reports = self._reports, []
        for report in reports:
            self._told(report)
        return self.away


def record(offset: int | None, took: float = 0.001) -> Any:
    return SimpleNamespace(partition=lambda: 1, offset=lambda: offset, latency=lambda: took)


def sink_over(told: Callable[[Any], None]) -> Sink:
    sink = Sink({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "tracks")
    sink._producer = Producer(told)  # type: ignore[assignment]
    return sink


async def written(sink: Sink) -> Any:
    async with asyncio.timeout(5):
        return await sink.write("key", b"{}", "http")


async def test_when_the_library_has_given_up_for_good_nobody_waits_and_the_door_is_told() -> None:
    def fatal(report: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL))

    sink = sink_over(fatal)
    answers = await asyncio.gather(*(written(sink) for _ in range(3)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {SinkUnavailable}
    assert isinstance(sink.failed.exception(), KafkaException)
    with pytest.raises(SinkUnavailable):
        await written(sink)
    assert not sink.reachable()
    await sink.close()


@pytest.mark.parametrize(
    "fatal",
    [KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, fatal=True), KafkaError(KafkaError._FATAL)],
    ids=["said to be", "its code"],
)
@pytest.mark.parametrize("when", ["it is produced", "it is reported"])
async def test_a_record_that_meets_a_fatal_error_ends_the_door_too(when: str, fatal: KafkaError) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise KafkaException(fatal)

    sink = sink_over(lambda report: report(fatal, record(None)))
    if when == "it is produced":
        sink._producer.produce = refuse  # type: ignore[method-assign]
    answers = await asyncio.gather(*(written(sink) for _ in range(3)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {SinkUnavailable}
    async with asyncio.timeout(5):
        with pytest.raises(KafkaException):
            await sink.failed
    await sink.close()


async def test_why_kafka_takes_nothing_is_in_the_log_once_and_not_with_each_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    denied = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    sink = sink_over(lambda report: report(denied, record(None)))
    for _ in range(3):
        with pytest.raises(SinkUnavailable):
            await written(sink)
    assert [vars(line)["error"] for line in caplog.records] == ["TOPIC_AUTHORIZATION_FAILED"]
    assert not sink.failed.done()
    await sink.close()


async def test_what_kafka_has_at_a_place_that_it_does_not_tell_is_not_acknowledged_with_made_up_ids() -> None:
    sink = sink_over(lambda report: report(None, record(None)))
    with pytest.raises(SinkUnavailable):
        await written(sink)
    await sink.close()


async def test_nor_are_the_records_behind_it_in_its_batch_whose_places_the_library_counts_on_from_there() -> None:
    offsets = iter([None, 0, 1, 2, 41, 0])
    sink = sink_over(lambda report: report(None, record(next(offsets))))
    answers = await asyncio.gather(*(written(sink) for _ in range(6)), return_exceptions=True)
    assert [type(answer) for answer in answers[:4]] == 4 * [SinkUnavailable]
    assert answers[4:] == [(1, 41), (1, 0)]
    await sink.close()


async def test_whoever_has_written_when_the_door_ends_is_answered() -> None:
    sink = sink_over(lambda report: report(None, record(7)))
    writing = [asyncio.ensure_future(written(sink)) for _ in range(100)]
    await asyncio.sleep(0)
    await sink.close()
    assert set(await asyncio.gather(*writing)) == {(1, 7)}


@pytest.mark.parametrize(
    ("slow", "waited"),
    [(0.0, 0.2), (0.3, 0.2), (0.6, 1.0), (1.0, 1.0)],
    ids=["none is slow", "of a broker of three", "of most", "all"],
)
async def test_a_bundle_is_waited_for_as_long_as_kafka_takes_but_not_for_a_few_slow_ones(
    slow: float, waited: float
) -> None:
    took = iter(10 * [*int(10 * slow) * [0.3], *(10 - int(10 * slow)) * [0.002]])
    sink = sink_over(lambda report: report(None, record(7, next(took))))
    for _ in range(100):
        await written(sink)
    sink._producer.waited = 0.0  # type: ignore[attr-defined]
    took = iter([0.002])
    await written(sink)
    assert sink._producer.waited == waited  # type: ignore[attr-defined]
    await sink.close()


@pytest.mark.parametrize(
    ("most", "bundles"), [(60.0, [1, 9, 9, 2]), (0.0, [1, 20])], ids=["they have just come", "it has waited"]
)
async def test_a_bundle_is_as_much_as_goes_into_a_request_unless_its_first_record_waits_for_too_long(
    monkeypatch: pytest.MonkeyPatch, most: float, bundles: list[int]
) -> None:
    monkeypatch.setattr("ingest.sink.MOST_S", most)
    sink = sink_over(lambda report: report(None, record(7)))
    all_written, begun, found = threading.Event(), asyncio.Event(), list[int]()
    loop = asyncio.get_running_loop()
    producer: Any = sink._producer
    flush = producer.flush

    def counted(seconds: float) -> int:
        found.append(len(producer._reports))
        loop.call_soon_threadsafe(begun.set)
        all_written.wait(10)
        return int(flush(seconds))

    producer.flush = counted
    writing = [asyncio.ensure_future(sink.write("key", b"x", "http"))]
    await begun.wait()
    writing += [asyncio.ensure_future(sink.write("key", b"x" * 100_000, "http")) for _ in range(20)]
    await asyncio.sleep(0)
    all_written.set()
    await asyncio.gather(*writing)
    assert found == bundles
    await sink.close()


async def test_what_is_written_beside_a_broker_that_is_away_is_waited_for_as_long_as_the_others_take() -> None:
    sink = sink_over(lambda report: report(None, record(7, 0.3)))
    for _ in range(100):
        await written(sink)
    producer: Any = sink._producer
    assert producer.waited == 1.0
    producer.away = 1  # a record of a broker that does not answer
    for _ in range(3):
        await written(sink)
    assert producer.waited == 0.3
    producer.away = 0
    await written(sink)
    await sink.close()
