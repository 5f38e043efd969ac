"""The lane's protocol, on a real PostgreSQL and a real Kafka, driven batch by batch."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from confluent_kafka import KafkaException, TopicCollection
from faust.types import TP
from psycopg.errors import AdminShutdown
from zstandard import ZstdError

from deploy.installation import create_topics
from processors.runner.attempt import Attempt
from processors.runner.dead_letter_watch import WATCHED_RECORDS
from processors.runner.failures import LaneStopped, Poison, Unavailable
from processors.runner.lane import CLOSE_S, Lane
from processors.runner.publisher import FencedPublisher, Publisher
from processors.runner.stage import Stage
from processors.runner.transport import Batch
from processors.storage.database import connector
from processors.storage.progress import LaneKey, Progress
from schemas.codecs import Message
from schemas.profiles import SegmentationJob
from schemas.topics import SEGMENTATION_JOBS, TRACKS
from tests.conftest import MakeInstallation
from tests.kit.installation import Installation
from tests.kit.waiting import until

FROZEN_FOR_LONG = (
    "select count(*) from pg_stat_activity where query like 'copy%' and state_change < now() - interval '1 s'"
)


class Record:
    """A record as the driver hands it over."""

    def __init__(self, offset: int, value: bytes | None) -> None:
        self.partition, self.offset, self.timestamp = 0, offset, 0
        self.key: bytes | None = None
        self.value, self.headers = value, ()


@dataclass
class PartitionLog:
    """What Kafka knows of the partition, from the test; the topic's id from Kafka."""

    id: str
    committed_offset: int | None = None
    first: int = 0
    last: int = 1_000_000
    sought: int | None = None
    done: int = 0

    async def committed(self) -> int | None:
        return self.committed_offset

    async def beginning(self) -> int:
        return self.first

    async def topic_id(self) -> str:
        return self.id

    async def end(self) -> int:
        return self.last

    def seek(self, offset: int) -> None:
        self.sought = offset

    def stored(self, offset: int) -> None:
        self.done = offset


class FailingPublisher:
    """Publishes, after it has failed as often as it is told to: as if the process had died before it could."""

    def __init__(self, real: Publisher) -> None:
        self._real = real
        self.failures = 0
        self.error: type[Exception] = Crash

    async def open(self) -> None:
        pass

    async def release(self) -> None:
        await self._real.release()

    async def publish(self, messages: Sequence[Message]) -> None:
        if messages and self.failures:
            self.failures -= 1
            raise self.error("publisher")
        await self._real.publish(messages)


class Crash(Exception):
    """The process dies here."""


class Bench:
    """Lanes over one partition of one installation."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.publisher = FailingPublisher(
            Publisher({"bootstrap.servers": installation.kafka, "log_level": 0}, installation.prefix)
        )
        self.connect = connector(installation.database_url, "test")
        self.log = PartitionLog(self.topic_id())
        self.values: list[bytes] = []
        self.lanes: list[Lane] = []
        self.seen: list[bytes] = []
        self.bug_at: Callable[[bytes], bool] = lambda _: False
        self.takes_s: Callable[[bytes], float] = lambda _: 0.0
        #: How often the step has to wait yet.
        self.waits = 0
        #: What a step waits for, and whether one does.
        self.waiting, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    def topic_id(self) -> str:
        name = self.installation.prefix + "tracks"
        found = self.installation._admin.describe_topics(TopicCollection([name]))[name].result(10)
        return str(found.topic_id)

    def new_topic_id(self, old: str) -> str | None:
        """The id of the topic that has taken the old one's place, None while Kafka does not know it everywhere."""
        try:
            return found if (found := self.topic_id()) != old else None
        except KafkaException:
            return None

    async def step(self, payloads: Sequence[Any]) -> list[SegmentationJob]:
        for payload in payloads:
            if payload.body.startswith(b"poison"):
                raise Poison("tastes_bad")
            if self.bug_at(payload.body):
                raise ZeroDivisionError
            time.sleep(self.takes_s(payload.body))  # noqa: ASYNC251  # nothing asks PostgreSQL anything meanwhile
            if self.waits:
                self.waits -= 1
                raise Unavailable("definitions behind")
        if not self.go_on.is_set():
            self.waiting.set()
            await self.go_on.wait()
        self.seen += [payload.body for payload in payloads]
        return [SegmentationJob(profile=payload.body.decode()) for payload in payloads]

    def lane(self, holes: bool = False) -> Lane:
        """A new one, as after a start or an assignment."""
        stage = Stage("validate", (TRACKS,), self.step, (SEGMENTATION_JOBS,))
        attempt = Attempt(stage, TRACKS, lambda _: {})
        key = LaneKey("validate", "tracks", 0)
        self.lanes.append(Lane(key, stage, self.log, self.connect, self.publisher, attempt, holes=holes))
        return self.lanes[-1]

    def batch(self, start: int, *values: bytes, topic_id: str = "") -> Batch:
        records = [Record(start + number, value) for number, value in enumerate(values)]
        return Batch(TP("tracks", 0), start, records, topic_id or self.log.id)

    def outputs(self) -> list[str]:
        return [job["profile"] for job in self.installation.bodies("segmentation-jobs")]

    def keep(self, outbox: bytes) -> None:
        """Instead of what the lane has kept."""
        with psycopg.connect(self.installation.database_url, autocommit=True) as connection:
            connection.execute("update stage_progress set outbox = %s", (outbox,))

    def next_offset(self) -> int:
        return int(self.installation.one("select next_offset from stage_progress"))

    async def close(self) -> None:
        for lane in self.lanes:
            await lane.close()


@pytest.fixture
async def bench(make_installation: MakeInstallation) -> AsyncIterator[Bench]:
    # In a thread: preparing runs an event loop of its own.
    installation = await asyncio.to_thread(make_installation, "", partitions=1)
    made = Bench(installation)
    yield made
    await made.close()
    made.publisher._real.close()


async def test_a_batch_moves_the_position_and_puts_out_what_the_step_made_of_it(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a", b"b"))
    await lane.process(bench.batch(2, b"c"))
    assert (bench.next_offset(), bench.log.done) == (3, 3)
    assert bench.outputs() == ["a", "b", "c"]


async def test_outputs_that_a_crash_kept_back_are_sent_by_the_next_lane_before_anything_else(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a"))
    bench.publisher.failures = 1
    with pytest.raises(Crash):
        await lane.process(bench.batch(1, b"b", b"c"))
    await lane.close()
    assert bench.next_offset() == 3
    assert bench.outputs() == ["a"]
    await bench.lane().process(bench.batch(3, b"d"))
    assert bench.outputs() == ["a", "b", "c", "d"]
    assert bench.seen == [b"a", b"b", b"c", b"d"]


async def test_large_outputs_that_a_crash_kept_back_are_sent_whole_or_not_at_all(bench: Bench) -> None:
    sent = [str(number) * 500 for number in range(10, 30)]
    bench.publisher.failures = 1
    lane = bench.lane()
    with pytest.raises(Crash):
        await lane.process(bench.batch(0, *[value.encode() for value in sent]))
    await lane.close()
    kept = bytes(bench.installation.one("select outbox from stage_progress"))
    assert len(kept) < 2000

    bench.keep(kept[:-10])
    with pytest.raises(ZstdError):
        await bench.lane().process(bench.batch(len(sent), b"next"))
    assert (bench.outputs(), bench.next_offset()) == ([], len(sent))

    bench.keep(kept)
    await bench.lane().process(bench.batch(len(sent), b"next"))
    assert bench.outputs() == [*sent, "next"]


async def test_a_lane_that_is_idle_forgets_what_it_delivered_and_nothing_that_it_did_not(bench: Bench) -> None:
    outbox = "select outbox from stage_progress"
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a"))
    assert bench.installation.one(outbox) is not None
    await lane.idle()
    assert bench.installation.one(outbox) is None
    bench.publisher.failures = 1
    with pytest.raises(Crash):
        await lane.process(bench.batch(1, b"b"))
    await lane.idle()
    assert bench.installation.one(outbox) is not None
    await lane.close()
    await bench.lane().process(bench.batch(2, b"c"))
    assert bench.outputs() == ["a", "b", "c"]


async def test_a_lane_that_ends_leaves_nothing_that_it_delivered_to_be_delivered_again(bench: Bench) -> None:
    first, then = bench.lane(), bench.lane()
    await first.process(bench.batch(0, b"a"))
    await first.close()
    await then.recover()
    await then.process(bench.batch(1, b"b"))
    assert (bench.outputs(), then.health.redelivered) == (["a", "b"], 0)


async def test_a_lane_that_ends_within_a_batch_leaves_nothing_of_the_batch(bench: Bench) -> None:
    first, then = bench.lane(), bench.lane()
    await first.process(bench.batch(0, b"a"))
    bench.go_on.clear()
    cut = asyncio.create_task(first.process(bench.batch(1, b"b")))
    async with asyncio.timeout(10):
        await bench.waiting.wait()
    assert first.connection is not None
    await first.connection.execute("create table half_of_it ()")
    cut.cancel()
    await asyncio.wait({cut})
    await first.close()
    bench.go_on.set()
    await then.recover()
    await then.process(bench.batch(1, b"b"))
    assert (bench.outputs(), then.health.redelivered) == (["a", "b"], 0)
    assert bench.installation.one("select to_regclass('half_of_it')") is None


async def test_a_lane_that_ends_late_forgets_nothing_of_a_topic_that_was_made_again_meanwhile(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a"))
    with psycopg.connect(bench.installation.database_url, autocommit=True) as other:  # who came as far in the new one
        other.execute("update stage_progress set topic_id = 'the new one'")
    await lane.close()
    assert bench.installation.one("select outbox from stage_progress") is not None


async def test_a_lane_that_ends_does_not_wait_for_a_postgresql_that_says_nothing(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a"))
    assert lane.connection is not None
    server = psutil.Process(lane.connection.info.backend_pid)
    server.suspend()
    try:
        async with asyncio.timeout(2 * CLOSE_S):
            await lane.close()
    finally:
        server.resume()
    server.wait(10)
    await bench.lane().recover()
    assert bench.outputs() == ["a", "a"]  # as after a kill


async def test_outputs_that_an_outage_kept_back_are_sent_by_the_same_lane_and_the_step_runs_once(bench: Bench) -> None:
    lane = bench.lane()
    bench.publisher.failures, bench.publisher.error = 2, Unavailable
    await lane.process(bench.batch(0, b"a", b"b"))
    assert bench.outputs() == ["a", "b"]
    assert bench.seen == [b"a", b"b"]
    assert bench.log.done == 2


async def test_where_the_step_has_to_wait_nothing_is_delivered_twice(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a"))
    bench.waits = 2
    await lane.process(bench.batch(1, b"b"))
    assert (bench.waits, bench.outputs(), lane.health.redelivered) == (0, ["a", "b"], 0)


async def test_a_batch_that_starts_above_the_position_seeks_back_and_does_nothing(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a"))
    await lane.process(bench.batch(5, b"f"))
    assert bench.log.sought == 1
    assert (bench.next_offset(), bench.log.done, bench.seen) == (1, 1, [b"a"])


async def test_records_below_the_position_are_dropped(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a", b"b"))
    await lane.process(bench.batch(0, b"a", b"b"))
    await lane.process(bench.batch(1, b"b", b"c"))
    assert bench.seen == [b"a", b"b", b"c"]
    assert bench.outputs() == ["a", "b", "c"]
    assert bench.next_offset() == 3


async def test_records_that_are_gone_before_they_were_processed_stop_the_lane(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a"))
    bench.log.first = 4
    gap = Batch(TP("tracks", 0), 1, [Record(4, b"e")], bench.log.id)
    with pytest.raises(LaneStopped, match="offsets 1 to 3 are gone"):
        await lane.process(gap)
    assert bench.next_offset() == 1
    # A hole inside the log is none (compacted records), once it was seen in what is read from exactly there.
    bench.log.first = 0
    await lane.process(gap)
    assert (bench.next_offset(), bench.log.sought) == (1, 1)
    await lane.process(gap)
    assert bench.next_offset() == 5


async def test_of_a_topic_written_in_transactions_records_that_are_gone_are_told_from_markers(bench: Bench) -> None:
    lane = bench.lane(holes=True)
    await lane.process(bench.batch(0, b"a"))
    await lane.process(Batch(TP("tracks", 0), 1, [Record(2, b"c")], bench.log.id))  # a marker has the offset before it
    assert (bench.next_offset(), bench.log.sought) == (3, None)
    bench.log.first = 5
    with pytest.raises(LaneStopped, match="offsets 3 to 4 are gone"):
        await lane.process(Batch(TP("tracks", 0), 3, [Record(5, b"f")], bench.log.id))
    assert (bench.next_offset(), bench.seen) == (3, [b"a", b"c"])


async def test_a_topic_that_was_deleted_and_made_again_stops_the_lane(bench: Bench) -> None:
    lane = bench.lane()
    await lane.process(bench.batch(0, b"a"))
    name = bench.installation.prefix + "tracks"
    await asyncio.to_thread(lambda: bench.installation._admin.delete_topics([name])[name].result(10))
    await asyncio.to_thread(until, lambda: create_topics(bench.installation.settings))
    anew = await asyncio.to_thread(until, lambda: bench.new_topic_id(bench.log.id))
    with pytest.raises(LaneStopped, match="made again"):
        await lane.process(bench.batch(1, b"b", topic_id=anew))
    bench.log.id = anew
    with pytest.raises(LaneStopped, match="made again"):
        await bench.lane().process(bench.batch(0, b"b"))
    assert bench.seen == [b"a"]


async def test_a_database_that_went_back_in_time_stops_the_lane(bench: Bench) -> None:
    await bench.lane().process(bench.batch(0, b"a", b"b"))
    with psycopg.connect(bench.installation.database_url, autocommit=True) as connection:
        connection.execute("update stage_progress set next_offset = 1, outbox = null")
    bench.log.committed_offset = 2
    with pytest.raises(LaneStopped, match="went back in time"):
        await bench.lane().process(bench.batch(2, b"c"))
    assert bench.next_offset() == 1


async def test_who_is_frozen_within_a_copy_gives_the_lane_up_to_whoever_takes_it_over(bench: Bench) -> None:
    """No timeout of PostgreSQL's ends a COPY that waits for its rows."""
    bench.connect = connector(bench.installation.database_url, "test", idle_s=1)
    await bench.lane().process(bench.batch(0, b"a"))
    frozen = await bench.connect()
    await Progress(frozen, LaneKey("validate", "tracks", 0)).lock()
    with pytest.raises(AdminShutdown):
        async with frozen.cursor().copy("copy events from stdin"):
            await asyncio.to_thread(until, lambda: bench.installation.one(FROZEN_FOR_LONG))
            await bench.lane().process(bench.batch(1, b"b"))
    assert (bench.seen, bench.next_offset()) == ([b"a", b"b"], 2)
    await frozen.close()


async def test_two_lanes_of_one_partition_do_each_record_once(bench: Bench) -> None:
    one, other = bench.lane(), bench.lane()
    for start in range(0, 40, 2):
        batch = bench.batch(start, b"%d" % start, b"%d" % (start + 1))
        await asyncio.gather(one.process(batch), other.process(batch))
    assert bench.seen == [b"%d" % n for n in range(40)]
    assert bench.next_offset() == 40
    # Outputs may come again, each first one in order.
    assert list(dict.fromkeys(bench.outputs())) == [str(n) for n in range(40)]


async def test_halving_finds_exactly_the_poison_and_the_rest_goes_on_in_order(bench: Bench) -> None:
    values = [b"%d" % n for n in range(64)]
    for place in (0, 17, 18, 63):
        values[place] = b"poison %d" % place
    await bench.lane().process(bench.batch(0, *values))
    assert bench.outputs() == [value.decode() for value in values if not value.startswith(b"poison")]
    dead = bench.installation.records("dead-letters")
    assert [message.value() for message in dead] == [b"poison 0", b"poison 17", b"poison 18", b"poison 63"]
    headers = dict(dead[1].headers() or [])
    assert (headers["dlq.reason"], headers["dlq.offset"], headers["dlq.stage"]) == (b"tastes_bad", b"17", b"validate")


async def test_what_takes_longer_than_a_transaction_may_goes_through_in_portions_and_what_does_alone_is_a_dead_letter(
    bench: Bench,
) -> None:
    bench.connect = connector(bench.installation.database_url, "test", idle_s=0.5)
    bench.takes_s = lambda value: 0.7 if value == b"f" else 0.1
    values = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"]
    await bench.lane().process(bench.batch(0, *values))
    # PostgreSQL ends the connection each time: what was put out last goes out again, as after any such.
    assert list(dict.fromkeys(bench.outputs())) == ["a", "b", "c", "d", "e", "g", "h"]
    letters = bench.installation.records("dead-letters")
    assert {(letter.value(), dict(letter.headers())["dlq.reason"]) for letter in letters} == {(b"f", b"too_slow")}
    assert (bench.next_offset(), bench.log.done) == (8, 8)


async def test_a_bug_that_hits_one_record_twice_is_poison_and_one_that_passes_is_not(bench: Bench) -> None:
    left = itertools.count()
    bench.bug_at = lambda body: body == b"always" or (body == b"once" and next(left) < 1)
    lane = bench.lane()
    await lane.process(bench.batch(0, b"once"))
    await lane.process(bench.batch(1, b"a", b"always", b"b"))
    assert bench.outputs() == ["once", "a", "b"]
    (dead,) = bench.installation.records("dead-letters")
    headers = dict(dead.headers() or [])
    assert (dead.value(), headers["dlq.reason"], headers["dlq.exception"]) == (b"always", b"bug", b"ZeroDivisionError")


async def test_a_lane_stops_when_half_of_its_records_become_dead_letters(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = bench.lane()
    values = [b"poison" if n % 2 else b"good" for n in range(WATCHED_RECORDS)]
    await lane.process(bench.batch(0, *values[:-2]))
    with pytest.raises(LaneStopped, match="half of the last 1000 records"):
        await lane.process(bench.batch(len(values) - 2, *values[-2:]))
    # What was done is done: the lane goes on behind it once somebody has looked.
    assert bench.next_offset() == len(values)


async def test_producers_that_were_made_for_more_batches_than_usual_are_not_kept(
    make_installation: MakeInstallation,
) -> None:
    installation = await asyncio.to_thread(make_installation, "")
    publisher = Publisher({"bootstrap.servers": installation.kafka, "log_level": 0}, installation.prefix, ready=2)
    message = Message(SEGMENTATION_JOBS.name, b"k", b"{}")
    await asyncio.gather(*(publisher.publish([message]) for _ in range(6)))
    publisher.close()
    assert len(installation.records(SEGMENTATION_JOBS.name)) == 6
    assert len(publisher._idle) == 2


async def test_lanes_that_came_and_went_leave_no_producers_behind(bench: Bench) -> None:
    """Each has sockets and threads of its own; a worker of a fenced topic makes one at each assignment."""
    kafka = {"bootstrap.servers": bench.installation.kafka, "log_level": 0}
    threads = len(os.listdir("/proc/self/task"))
    for number in range(5):
        publisher = FencedPublisher(kafka, bench.installation.prefix, "lane")
        await publisher.open()
        await publisher.publish([SEGMENTATION_JOBS.encode(SegmentationJob(profile=str(number)))])
        await publisher.release()
    await asyncio.to_thread(until, lambda: len(os.listdir("/proc/self/task")) <= threads + 2)
    assert bench.outputs() == [str(number) for number in range(5)]
