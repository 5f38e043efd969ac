"""Several lanes' small batches as one, on a real PostgreSQL; what is published is kept in a list, in order."""

import asyncio
import gc
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
from faust.types import TP

from processors.runner import together as module
from processors.runner.attempt import Attempt
from processors.runner.fail_points import nowhere
from processors.runner.failures import Fenced, LaneStopped, Poison, Unavailable
from processors.runner.lane import Lane
from processors.runner.pace import LARGE_RECORDS, Pace
from processors.runner.stage import Stage
from processors.runner.together import LARGE_BYTES, MOST_LANES, Together
from processors.runner.transport import Batch
from processors.storage.database import Connection, connector
from processors.storage.progress import LaneKey
from schemas.codecs import Message
from schemas.failures import DeadLetter
from schemas.profiles import SegmentationJob
from schemas.topics import DEAD_LETTERS, SEGMENTATION_JOBS, TRACKS
from tests.conftest import MakeInstallation
from tests.integration.test_lane import PartitionLog, Record
from tests.kit.installation import Installation

LANES = range(3)
#: Records of a lane in a batch, where workers die.
MOST_AT_ONCE = 3


class Death(BaseException):
    """The process dies here: nothing of it goes on."""


class Published:
    """Stands for the topic: what came, in order. Dies, or fails, when it is told to, after so many of the messages."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.letters = 0
        self.calls = 0
        self.ends: BaseException | None = None
        self.after = 0

    async def open(self) -> None: ...

    async def release(self) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> None:
        self.calls += bool(messages)
        ends, self.ends = self.ends, None
        for message in messages if ends is None else messages[: self.after]:
            if message.topic == DEAD_LETTERS.name:
                self.letters += 1
            else:
                self.jobs.append(SEGMENTATION_JOBS.codec.decode(Record(0, message.value or b"")).profile)
        if ends is not None:
            raise ends


class OfOneLane:
    """A publisher of its own for each lane: the newest that was opened shuts the others of its lane out."""

    def __init__(self, published: Published, newest: dict[int, "OfOneLane"], partition: int) -> None:
        self._published, self._newest, self._partition = published, newest, partition
        #: What happens before anything is published.
        self.before: Callable[[], Awaitable[Any]] | None = None

    async def open(self) -> None:
        self._newest[self._partition] = self

    async def release(self) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.before is not None:
            await self.before()
        if self._newest[self._partition] is not self:
            raise Fenced
        await self._published.publish(messages)


class Bench:
    """One worker's lanes over three partitions, of which each holds payloads named after their place: `1-007`."""

    fenced = False

    def __init__(self, installation: Installation) -> None:
        self.connect = connector(installation.database_url, "test")
        self.installation = installation
        self.published = Published()
        self.logs = {partition: PartitionLog("an-id") for partition in LANES}
        self.newest: dict[int, OfOneLane] = {}
        self.steps: list[list[str]] = []
        self.fails: dict[str, Exception] = {}
        self.refused: set[str] = set()
        self.renamed: dict[str, str] = {}
        self.lanes: list[Lane] = []
        self.at_step: asyncio.Event | None = None
        self.go_on = asyncio.Event()
        stage = Stage("validate", (TRACKS,), self.step, (SEGMENTATION_JOBS,))
        self.attempt = Attempt(stage, TRACKS, lambda connection: {"connection": connection})
        self.stage = stage

    async def step(self, payloads: Sequence[Any], connection: Connection) -> list[Any]:
        names = [payload.body.decode() for payload in payloads]
        self.steps.append(names)
        if self.at_step is not None:
            self.at_step.set()
            await self.go_on.wait()
        for name in names:
            if name in self.fails:
                raise self.fails[name]
            await connection.execute("insert into done values (%s)", (name,))
        named = [self.renamed.get(name, name) for name in names]
        return [self.letter(name) if name in self.refused else SegmentationJob(profile=name) for name in named]

    def letter(self, name: str) -> DeadLetter:
        return DeadLetter(key=None, value=b"", reason="bad", stage="validate", topic="tracks", partition=0, offset=0)

    def lane(self, partition: int) -> Lane:
        key = LaneKey("validate", "tracks", partition)
        log = self.logs[partition]
        publisher = OfOneLane(self.published, self.newest, partition) if self.fenced else self.published
        self.lanes.append(Lane(key, self.stage, log, self.connect, publisher, self.attempt))
        return self.lanes[-1]

    async def open(self, partitions: Sequence[int] = LANES) -> dict[int, Lane]:
        lanes = {partition: self.lane(partition) for partition in partitions}
        for lane in lanes.values():
            await lane.recover()
        return lanes

    def together(self) -> Together:
        return Together(self.attempt, self.fenced, asyncio.Semaphore(4), nowhere, Pace())

    def batch(self, partition: int, start: int, count: int, topic_id: str = "an-id") -> Batch:
        records = [Record(number, name(partition, number).encode()) for number in range(start, start + count)]
        for record in records:
            record.partition, record.key = partition, record.value
        return Batch(TP("tracks", partition), start, records, topic_id)

    async def run(self, lanes: dict[int, Lane], *batches: Batch, size: int = 1000) -> list[Any]:
        """All at once, as one fetch brings them; what each raised, None where it was done."""
        together = self.together()
        asked = (together.process(lanes[batch.tp.partition], batch, size) for batch in batches)
        return await asyncio.gather(*asked, return_exceptions=True)

    def done(self) -> list[str]:
        return sorted(name for (name,) in self.installation.sql("select name from done"))

    def positions(self) -> dict[int, int]:
        return dict(self.installation.sql("select partition, next_offset from stage_progress order by partition"))

    async def close(self) -> None:
        for lane in self.lanes:
            await lane.close()


def name(partition: int, number: int) -> str:
    return f"{partition}-{number:03}"


def names(partition: int, *numbers: int) -> list[str]:
    return [name(partition, number) for number in numbers]


@pytest.fixture
async def bench(make_installation: MakeInstallation) -> AsyncIterator[Bench]:
    # In a thread: preparing runs an event loop of its own.
    made = Bench(await asyncio.to_thread(make_installation, "", partitions=1))
    async with await made.connect() as connection:
        await connection.execute("create table done (name text primary key)")
    yield made
    await made.close()
    gc.collect()  # what a failed test leaves says so here: telling of it amid pytest's report breaks that off


async def test_what_one_fetch_brings_to_several_lanes_is_one_step_one_transaction_and_one_delivery(bench: Bench):
    lanes = await bench.open()
    assert await bench.run(lanes, *(bench.batch(partition, 0, 2) for partition in LANES)) == [None] * 3
    assert bench.steps == [[*names(0, 0, 1), *names(1, 0, 1), *names(2, 0, 1)]]
    assert bench.positions() == {0: 2, 1: 2, 2: 2}
    assert {log.done for log in bench.logs.values()} == {2}
    assert len(bench.installation.sql("select distinct xmin::text from stage_progress")) == 1
    assert (bench.published.calls, bench.published.jobs) == (1, bench.steps[0])


async def test_what_comes_while_others_are_under_way_goes_together_next(bench: Bench):
    lanes, together = await bench.open(), bench.together()
    bench.at_step = asyncio.Event()
    first = [asyncio.create_task(together.process(lanes[p], bench.batch(p, 0, 1), 1000)) for p in (0, 1)]
    await bench.at_step.wait()
    bench.at_step = None
    later = asyncio.create_task(together.process(lanes[2], bench.batch(2, 0, 1), 1000))
    bench.go_on.set()
    await asyncio.gather(*first, later)
    assert bench.steps == [["0-000", "1-000"], ["2-000"]]


@pytest.mark.parametrize(
    ("count", "size"), [(LARGE_RECORDS, 1000), (1, LARGE_BYTES)], ids=["of many records", "of many bytes"]
)
async def test_a_large_batch_goes_by_itself(bench: Bench, count: int, size: int):
    lanes = await bench.open()
    await bench.run(lanes, bench.batch(0, 0, count), bench.batch(1, 0, count), size=size)
    assert sorted(map(len, bench.steps)) == [count, count]
    assert bench.positions() == {0: count, 1: count, 2: 0}


async def test_no_more_lanes_go_together_than_should_keep_what_comes_of_all(bench: Bench):
    bench.logs |= {partition: PartitionLog("an-id") for partition in range(3, 6)}
    lanes = await bench.open(range(6))
    assert await bench.run(lanes, *(bench.batch(partition, 0, 1) for partition in range(6))) == [None] * 6
    assert list(map(len, bench.steps)) == [MOST_LANES, 6 - MOST_LANES]


async def test_where_one_record_is_poison_each_lane_does_its_own(bench: Bench):
    lanes = await bench.open()
    bench.fails["1-001"] = Poison("tastes_bad")
    assert await bench.run(lanes, *(bench.batch(partition, 0, 3) for partition in LANES)) == [None] * 3
    good = [*names(0, 0, 1, 2), *names(1, 0, 2), *names(2, 0, 1, 2)]
    assert bench.done() == sorted(bench.published.jobs) == good
    assert (bench.published.letters, bench.positions()) == (1, {0: 3, 1: 3, 2: 3})


async def test_where_a_step_has_to_wait_nothing_of_it_stays_and_each_lane_tries_again(bench: Bench):
    lanes = await bench.open()
    bench.fails["2-000"] = Unavailable("definitions behind")
    running = asyncio.create_task(bench.run(lanes, *(bench.batch(partition, 0, 1) for partition in LANES)))
    while len(bench.steps) < 4:  # noqa: ASYNC110 - nothing tells when three have tried by themselves
        await asyncio.sleep(0)
    del bench.fails["2-000"]
    assert await running == [None] * 3
    assert bench.done() == sorted(bench.published.jobs) == ["0-000", "1-000", "2-000"]


@pytest.mark.parametrize("odd", ["behind", "repeated", "set back", "with a hole", "undelivered", "not open"])
async def test_a_lane_with_more_to_see_to_goes_by_itself_and_the_others_together(bench: Bench, odd: str):
    lanes = await bench.open()
    await bench.run(lanes, *(bench.batch(partition, 0, 2) for partition in LANES))
    batch, left = bench.batch(2, 2, 2), {2: 4}
    if odd == "behind":
        batch, left = bench.batch(2, 3, 1), {2: 2}  # it has to seek back
    elif odd == "repeated":
        batch = bench.batch(2, 0, 4)
    elif odd == "set back":  # Kafka had lost what the position says, and its client began anew
        batch = Batch(TP("tracks", 2), 2, bench.batch(2, 0, 4).records, "an-id")
    elif odd == "with a hole":
        batch, left = Batch(TP("tracks", 2), 2, bench.batch(2, 3, 1).records, "an-id"), {2: 2}
    elif odd == "undelivered":
        lanes[2].committed()
    else:
        await lanes[2].let_go()
        await lanes[2].close()
    bench.steps.clear()
    assert await bench.run(lanes, bench.batch(0, 2, 1), bench.batch(1, 2, 1), batch) == [None] * 3
    assert bench.steps[0] == ["0-002", "1-002"]
    assert bench.positions() == {0: 3, 1: 3} | left
    assert bench.done() == sorted(set(bench.published.jobs))


async def test_a_topic_that_was_made_again_stops_only_the_lane_that_saw_it(bench: Bench):
    lanes = await bench.open()
    batches = bench.batch(0, 0, 1), bench.batch(1, 0, 1), bench.batch(2, 0, 1, topic_id="another")
    *done, stopped = await bench.run(lanes, *batches)
    assert (done, type(stopped), bench.done()) == ([None, None], LaneStopped, ["0-000", "1-000"])


async def test_of_a_topic_written_in_transactions_markers_between_are_no_hole(bench: Bench):
    lanes = await bench.open()
    for lane in lanes.values():
        lane._holes = True
    holed = [Batch(TP("tracks", p), 0, bench.batch(p, 1, 1).records, "an-id") for p in LANES]
    assert await bench.run(lanes, *holed) == [None] * 3
    assert (len(bench.steps), bench.positions()) == (1, {0: 2, 1: 2, 2: 2})


async def test_whoever_takes_one_lane_over_delivers_what_came_of_all_before_anything_new(bench: Bench):
    lanes = await bench.open()
    bench.published.ends, together = Death(), bench.together()
    works = [together.process(lanes[p], bench.batch(p, 0, 1), 1000) for p in LANES]
    with pytest.raises(Death):
        await _until_one_dies(works)
    await bench.close()
    assert (bench.published.jobs, bench.done()) == ([], ["0-000", "1-000", "2-000"])
    successor = bench.lane(1)
    await successor.recover()
    await successor.process(bench.batch(1, 1, 1))
    assert bench.published.jobs == ["0-000", "1-000", "2-000", "1-001"]


async def test_a_delivery_that_fails_is_made_up_for_and_the_step_runs_once(bench: Bench):
    lanes = await bench.open()
    bench.published.ends, bench.published.after = Unavailable("kafka"), 1
    assert await bench.run(lanes, *(bench.batch(partition, 0, 1) for partition in LANES)) == [None] * 3
    assert len(bench.steps) == 1
    assert list(dict.fromkeys(bench.published.jobs)) == ["0-000", "1-000", "2-000"]


@pytest.mark.parametrize("fenced", [False, True], ids=["", "fenced"])
@pytest.mark.parametrize("ended", [0, 1], ids=["who leads", "who follows"])
async def test_a_lane_that_is_taken_away_under_way_keeps_no_other_from_its_work(bench: Bench, ended: int, fenced: bool):
    bench.fenced = fenced
    lanes, together = await bench.open(), bench.together()
    bench.at_step = asyncio.Event()
    tasks = [asyncio.create_task(together.process(lanes[p], bench.batch(p, 0, 1), 1000)) for p in LANES]
    await bench.at_step.wait()
    bench.at_step = None
    tasks[ended].cancel()
    await asyncio.wait({tasks[ended]})
    await lanes[ended].close()
    bench.go_on.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*(task for number, task in enumerate(tasks) if number != ended))
        successor = bench.lane(ended)
        await successor.recover()
        await successor.process(bench.batch(ended, 0, 2))
    assert bench.done() == sorted(["0-000", "1-000", "2-000", name(ended, 1)])
    assert set(bench.published.jobs) == set(bench.done())


async def test_dead_letters_count_for_the_lane_whose_they_are(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("processors.runner.dead_letter_watch.WATCHED_RECORDS", 4)
    lanes = await bench.open()
    bench.refused = set(names(1, 0, 1))
    found = await bench.run(lanes, *(bench.batch(partition, 0, 4) for partition in LANES))
    assert [type(one) for one in found] == [type(None), LaneStopped, type(None)]
    assert (bench.published.letters, bench.positions()) == (2, {0: 4, 1: 4, 2: 4})


async def test_what_is_done_together_counts_as_well_done(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("processors.runner.dead_letter_watch.WATCHED_RECORDS", 4)
    lanes = await bench.open()
    await bench.run(lanes, *(bench.batch(partition, 0, 2) for partition in LANES))
    bench.refused = set(names(1, 2, 3))
    found = await bench.run(lanes, *(bench.batch(partition, 2, 2) for partition in LANES))
    assert [type(one) for one in found] == [type(None), LaneStopped, type(None)], "two of four are half"


async def test_after_something_went_wrong_lanes_go_by_themselves_for_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "APART_S", 1000.0)
    lanes, together = await bench.open(), bench.together()
    bench.fails["1-000"] = Poison("tastes_bad")
    for number in range(2):
        await asyncio.gather(*(together.process(lanes[p], bench.batch(p, number, 1), 1000) for p in LANES))
    assert sorted(bench.steps[-3:]) == [[name(partition, 1)] for partition in LANES]
    together._apart_until = 0.0
    await asyncio.gather(*(together.process(lanes[p], bench.batch(p, 2, 1), 1000) for p in LANES))
    assert bench.steps[-1] == [name(partition, 2) for partition in LANES]


async def test_what_waits_for_a_lock_keeps_no_other_lane_from_its_work(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LOCK_MS", 50)
    lanes = await bench.open()
    async with await bench.connect() as other:
        await other.execute("insert into done values ('1-000')")
        running = asyncio.create_task(bench.run(lanes, *(bench.batch(partition, 0, 1) for partition in LANES)))
        async with asyncio.timeout(8):  # sooner than a lane's own patience ends
            while bench.done() != ["0-000", "2-000"]:  # noqa: ASYNC110 - nothing tells what others have committed
                await asyncio.sleep(0.02)
        await other.rollback()
    assert await running == [None] * 3
    assert bench.done() == ["0-000", "1-000", "2-000"]


async def test_what_is_fenced_each_lane_keeps_and_delivers_by_itself(bench: Bench):
    bench.fenced = True
    lanes = await bench.open()
    assert await bench.run(lanes, *(bench.batch(partition, 0, 2) for partition in LANES)) == [None] * 3
    assert (len(bench.steps), bench.published.calls, sorted(bench.published.jobs)) == (1, 3, bench.done())
    bench.published.ends, together = Death(), bench.together()
    with pytest.raises(Death):
        await _until_one_dies([together.process(lanes[p], bench.batch(p, 2, 1), 1000) for p in LANES])
    await bench.close()
    assert "0-002" in bench.done() and "0-002" not in bench.published.jobs
    bench.published.jobs.clear()
    successor = bench.lane(0)
    await successor.recover()
    await successor.process(bench.batch(0, 3, 1))
    assert bench.published.jobs == names(0, 2, 3)


async def test_a_lane_that_was_shut_out_delivers_nothing_and_keeps_no_other_from_it(bench: Bench):
    bench.fenced = True
    lanes = await bench.open()
    other = bench.lane(1)
    await other._publisher.open()
    assert [type(one) for one in await bench.run(lanes, *(bench.batch(partition, 0, 1) for partition in LANES))] == [
        type(None),
        Fenced,
        type(None),
    ]
    assert (len(bench.steps), sorted(bench.published.jobs)) == (1, ["0-000", "2-000"])
    await other.recover()
    assert sorted(bench.published.jobs) == bench.done() == ["0-000", "1-000", "2-000"]


async def test_a_lane_that_was_shut_out_does_not_shut_out_who_did_so_even_if_its_connection_breaks(bench: Bench):
    bench.fenced = True
    lanes = await bench.open()
    shut_out = bench.newest[1]
    other = bench.lane(1)
    await other._publisher.open()

    async def broken() -> None:
        assert lanes[1].connection is not None
        await lanes[1].connection.close()

    shut_out.before = broken
    found = await bench.run(lanes, *(bench.batch(partition, 0, 1) for partition in LANES))
    assert (type(found[1]), bench.newest[1]) == (Fenced, other._publisher)


async def fenced_lanes_at_work(
    bench: Bench, slow: int, until: asyncio.Event
) -> tuple[dict[int, Lane], Together, list[asyncio.Task[None]]]:
    """All lanes with a batch of one record; what the `slow` one publishes takes until then."""
    bench.fenced = True
    lanes, together = await bench.open(), bench.together()
    bench.newest[slow].before = until.wait
    works = [asyncio.create_task(together.process(lanes[p], bench.batch(p, 0, 1), 1000)) for p in LANES]
    return lanes, together, works


async def test_one_lanes_slow_delivery_holds_up_no_other(bench: Bench):
    slow = asyncio.Event()
    lanes, together, works = await fenced_lanes_at_work(bench, 2, slow)
    async with asyncio.timeout(20):
        await asyncio.gather(*works[:2])
        await asyncio.gather(*(together.process(lanes[p], bench.batch(p, 1, 1), 1000) for p in (0, 1)))
        assert (works[2].done(), bench.published.jobs[-2:]) == (False, ["0-001", "1-001"])
        slow.set()
        await works[2]
    assert sorted(bench.published.jobs) == bench.done()


async def test_who_is_taken_over_before_it_could_deliver_leaves_it_to_its_successor(bench: Bench):
    lanes, _, works = await fenced_lanes_at_work(bench, 1, asyncio.Event())
    async with asyncio.timeout(20):
        await asyncio.gather(works[0], works[2])
        works[1].cancel()
        await asyncio.wait({works[1]})
        await lanes[1].close()
        assert (bench.positions()[1], "1-000" in bench.published.jobs) == (1, False)
        successor = bench.lane(1)
        await successor.recover()
    assert sorted(bench.published.jobs) == bench.done() == ["0-000", "1-000", "2-000"]


async def test_a_fenced_delivery_that_fails_is_made_up_for_and_the_step_runs_once(bench: Bench):
    bench.fenced = True
    lanes = await bench.open()
    bench.published.ends = Unavailable("kafka transaction")
    assert await bench.run(lanes, *(bench.batch(partition, 0, 1) for partition in LANES)) == [None] * 3
    assert len(bench.steps) == 1
    assert sorted(bench.published.jobs) == bench.done() == ["0-000", "1-000", "2-000"]
    assert {log.done for log in bench.logs.values()} == {1}


@pytest.mark.parametrize("odd", ["a key of two lanes", "an output of nobody's"])
async def test_where_keys_do_not_say_whose_a_fenced_output_is_each_lane_does_its_own(bench: Bench, odd: str):
    bench.fenced = True
    lanes = await bench.open()
    batches = [bench.batch(partition, 0, 1) for partition in LANES]
    if odd == "a key of two lanes":
        batches[1].records[0].key = b"0-000"
    else:
        bench.renamed["2-000"] = "9-999"
    assert await bench.run(lanes, *batches) == [None] * 3
    assert list(map(len, bench.steps)) == [3, 1, 1, 1]
    assert bench.positions() == {0: 1, 1: 1, 2: 1}
    assert sorted(bench.published.jobs) == sorted(bench.renamed.get(name, name) for name in bench.done())


class Life:
    """A process until it dies, at whatever it reaches or publishes after so many of such things."""

    def __init__(self, bench: Bench, left: int, some: random.Random) -> None:
        self._bench, self._left, self._some = bench, left, some

    def reach(self, name: str) -> None:
        self._left -= 1
        if self._left <= 0:  # and nothing of it goes on
            raise Death

    async def open(self) -> None: ...

    async def release(self) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> None:
        if self._left <= 0:
            raise Death
        self._left -= 5
        if self._left <= 0:
            await self._bench.published.publish(messages[: self._some.randint(0, len(messages))])
            raise Death
        await self._bench.published.publish(messages)

    async def live(self, partitions: Sequence[int], until: int) -> None:
        """From where the rows stand, in small batches."""
        lanes = {partition: self._lane(partition) for partition in partitions}
        for lane in lanes.values():
            await lane.recover()
        positions = self._bench.positions()
        together = Together(self._attempt(), self._bench.fenced, asyncio.Semaphore(4), self.reach, Pace())

        async def work(partition: int) -> None:
            at = positions[partition]
            while at < until:
                count = min(self._some.randint(1, MOST_AT_ONCE), until - at)
                await together.process(lanes[partition], self._bench.batch(partition, at, count), 1000)
                at += count

        await _until_one_dies([work(partition) for partition in partitions])

    def _lane(self, partition: int) -> Lane:
        bench, key = self._bench, LaneKey("validate", "tracks", partition)
        lane = Lane(key, bench.stage, bench.logs[partition], bench.connect, self, self._attempt(), reach=self.reach)
        bench.lanes.append(lane)
        return lane

    def _attempt(self) -> Attempt:
        return Attempt(self._bench.stage, TRACKS, lambda connection: {"connection": connection}, self.reach)


@pytest.mark.parametrize(
    ("seed", "fenced"), [*((seed, False) for seed in range(6)), *((seed, True) for seed in range(4))]
)
async def test_whatever_dies_where_each_record_is_done_once_and_first_comes_out_in_order(
    bench: Bench, seed: int, fenced: bool, monkeypatch: pytest.MonkeyPatch
):
    """Two workers share the partitions anew each time, or some have none, and they die anywhere, within a delivery
    too. Where outputs are fenced, nothing comes again after what is newer but the batch that was under way."""
    bench.fenced = fenced
    monkeypatch.setattr(module, "APART_S", 0.0)
    some, total, times = random.Random(seed), 30, 25
    await bench.open()
    for time in range(times):
        last = time == times - 1
        shared = [some.choice((0, 1) if last else (0, 0, 1, None)) for _ in LANES]
        until = total if last else min(total, 2 * time + 4)
        lives = [
            asyncio.create_task(
                Life(bench, 10**9 if last else some.randint(1, 70), some).live(
                    [partition for partition in LANES if shared[partition] == worker], until
                )
            )
            for worker in (0, 1)
        ]
        await asyncio.wait(lives)
        for life in lives:
            assert life.exception() is None or (isinstance(life.exception(), Death) and not last)
        await bench.close()
        bench.lanes.clear()
    assert bench.done() == [name(p, number) for p in LANES for number in range(total)]
    first: dict[str, list[str]] = defaultdict(list)
    for job in dict.fromkeys(bench.published.jobs):
        first[job[0]].append(job)
    assert first == {str(p): names(p, *range(total)) for p in LANES}
    if fenced:
        newest = dict.fromkeys(map(str, LANES), 0)
        for lane, _, number in (job.partition("-") for job in bench.published.jobs):
            assert int(number) > newest[lane] - MOST_AT_ONCE
            newest[lane] = max(newest[lane], int(number))


async def _until_one_dies(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of a process: with one of them all end."""
    tasks = [asyncio.create_task(work) for work in works]
    if not tasks:
        return
    done, alive = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in alive:
        task.cancel()
    await asyncio.gather(*alive, return_exceptions=True)
    for task in done:
        task.result()
