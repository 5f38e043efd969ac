"""Running a step over a batch: what fails alone is found, the rest passes in order, and an outage stops everything."""

from collections.abc import Sequence
from types import SimpleNamespace

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.runner.attempt import Attempt, StepOutcome, to_record
from processors.runner.failures import Poison, Unavailable
from processors.runner.stage import Stage
from schemas.codecs import Message, Undecodable
from schemas.events import IdentifiedEvent, Record, TrackedPayload, ValidEvent
from schemas.failures import NOT_KEPT, RejectedEvent
from schemas.origin import Origin
from schemas.profiles import ProfileChange, SegmentationJob
from schemas.replays import ATTEMPT_HEADER, REPLAY_HEADER, REVISION_HEADER, Replay
from schemas.topics import (
    DEAD_LETTERS,
    EVENTS_REJECTED,
    EVENTS_VALID,
    PROFILE_CHANGES,
    SEGMENTATION_JOBS,
    TRACKS,
    Topic,
    foreign_topic,
)
from tests.memory import Memory
from tests.unit.making import event, moment
from workflows.definitions import Definitions
from workflows.replays import Replays


class Table:
    """What a step writes to; it takes no part in what is rolled back."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory


def record(number: int, value: bytes | None = None) -> Record:
    return Record("segmentation-jobs", 0, number, 0, b"k", value or b'{"profile":"%d"}' % number)


async def attempt(fails: dict[int, Exception], records: Sequence[Record]) -> tuple[StepOutcome, list[int], int]:
    """The outcome, what was written by number, and how often the step was called.

    `fails` has for a number what the step raises wherever it is in the batch.
    """
    memory = Memory()
    calls = 0

    async def step(jobs: Sequence[SegmentationJob], table: Table) -> list[ProfileChange]:
        nonlocal calls
        calls += 1
        for job in jobs:
            table.memory.versions[job.profile] = (1, None)
        for job in jobs:
            if error := fails.get(int(job.profile)):
                raise error
        return [ProfileChange(profile=job.profile, version=1, at=moment(0)) for job in jobs]

    stage = Stage("segment", (SEGMENTATION_JOBS,), step, (PROFILE_CHANGES,))
    made = Attempt(stage, SEGMENTATION_JOBS, lambda connection: {"table": Table(memory)})
    outcome = await run(made, records, memory)
    return outcome, [int(number) for number in memory.versions], calls


async def run(made: Attempt, records: Sequence[Record], memory: Memory | None = None) -> StepOutcome:
    memory = memory or Memory()
    return await made.run(memory, records, memory.begin())


def passed(outcome: StepOutcome) -> list[int]:
    return [int(message.key) for message in outcome.messages if message.topic == "profile-changes"]


def dead(outcome: StepOutcome) -> dict[int, str]:
    letters = [dict(message.headers) for message in outcome.messages if message.topic == "dead-letters"]
    return {int(headers["dlq.offset"]): headers["dlq.reason"].decode() for headers in letters}


@given(st.integers(1, 20), st.sets(st.integers(0, 19)))
async def test_exactly_the_poison_is_taken_out_and_the_rest_passes_in_order(size: int, poison: set[int]):
    outcome, written, _ = await attempt({n: Poison("bad") for n in poison}, [record(n) for n in range(size)])
    good = [number for number in range(size) if number not in poison]
    assert passed(outcome) == written == good
    assert dead(outcome) == {number: "bad" for number in poison if number < size}
    assert (outcome.records, outcome.dead_letters) == (size, size - len(good))


async def test_a_batch_without_trouble_is_one_call():
    outcome, _, calls = await attempt({}, [record(number) for number in range(100)])
    assert calls == 1
    assert outcome.dead_letters == 0


async def test_one_poison_among_many_costs_few_calls():
    _, _, calls = await attempt({700: Poison("bad")}, [record(number) for number in range(1000)])
    assert calls <= 2 * 11


async def test_an_error_that_nobody_expected_is_poison_only_if_it_comes_twice():
    outcome, written, _ = await attempt({0: KeyError("x")}, [record(0)])
    assert dead(outcome) == {0: "bug"}
    assert written == []
    once = await attempt_that_fails_once()
    assert passed(once) == [0]
    assert once.dead_letters == 0


async def attempt_that_fails_once() -> StepOutcome:
    tries: list[int] = []

    async def step(jobs: Sequence[SegmentationJob]) -> list[ProfileChange]:
        tries.append(1)
        if len(tries) == 1:
            raise KeyError("a passing fault")
        return [ProfileChange(profile=job.profile, version=1, at=moment(0)) for job in jobs]

    stage = Stage("segment", (SEGMENTATION_JOBS,), step, (PROFILE_CHANGES,))
    return await run(Attempt(stage, SEGMENTATION_JOBS, lambda connection: {}), [record(0)])


def state(code: str) -> psycopg.Error:
    """An error as PostgreSQL would send it."""
    return psycopg.errors.lookup(code)("the text quotes data")


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("kafka"),
        psycopg.OperationalError("connection is lost"),
        psycopg.InterfaceError("the connection is closed"),
        *map(state, ("08006", "40001", "40P01", "53300", "57P01", "58030", "25P03", "25006", "55P03")),
    ],
    ids=lambda error: getattr(error, "sqlstate", None) or type(error).__name__,
)
async def test_an_outage_is_never_taken_for_poison(error: Exception):
    with pytest.raises(type(error)):
        await attempt({2: error}, [record(number) for number in range(4)])
    with pytest.raises(type(error)):
        await attempt({0: error}, [record(0)])


@pytest.mark.parametrize("code", ["22003", "22P02", "22P05", "23505", "23514"])
async def test_a_row_that_postgresql_refuses_is_poison_and_its_error_is_not_quoted(code: str):
    outcome, written, _ = await attempt({1: state(code)}, [record(number) for number in range(3)])
    assert (passed(outcome), written) == ([0, 2], [0, 2])
    assert dead(outcome) == {1: "refused_by_postgresql"}
    assert all(b"quotes data" not in value for message in outcome.messages for _, value in message.headers)
    assert any(code.encode() in value for message in outcome.messages for _, value in message.headers)


async def test_what_is_no_record_of_the_topic_is_a_dead_letter_with_its_bytes():
    outcome, _, calls = await attempt({}, [record(0), record(1, b"{"), record(2)])
    assert passed(outcome) == [0, 2]
    assert dead(outcome) == {1: "not_this_topics_model"}
    assert [message.value for message in outcome.messages if message.topic == "dead-letters"] == [b"{"]
    assert calls == 1


@pytest.mark.parametrize("headers", [(), (("traceparent", b"00-1"),)], ids=["plain", "with a header"])
@pytest.mark.parametrize(
    "bad",
    [None, b"", b"{", b"[]", b"\xff", b'{"profile":"\xff"}', b'{"x":' + b"[" * 100_000],
    ids=["none", "empty", "cut", "a list", "no UTF-8", "no UTF-8 inside", "too deep"],
)
async def test_whatever_is_no_model_is_taken_out_of_its_batch_and_the_rest_passes(
    bad: bytes | None, headers: tuple[tuple[str, bytes], ...]
):
    odd = Record("segmentation-jobs", 0, 1, 0, b"k", bad)
    other = Record("segmentation-jobs", 0, 2, 0, b"k", b'{"profile":"2"}', headers)
    outcome, written, calls = await attempt({}, [record(0), odd, other, record(3)])
    assert (passed(outcome), written, calls) == ([0, 2, 3], [0, 2, 3], 1)
    with pytest.raises(Undecodable) as caught:
        SEGMENTATION_JOBS.codec.decode(odd)
    assert dead(outcome) == {1: caught.value.reason}


async def test_an_output_that_is_too_large_is_found_before_anything_is_committed():
    async def step(jobs: Sequence[SegmentationJob]) -> list[ProfileChange]:
        return [
            ProfileChange(
                profile=job.profile,
                version=1,
                at=moment(0),
                traits={"x": "x" * (PROFILE_CHANGES.max_bytes if job.profile == "1" else 1)},
            )
            for job in jobs
        ]

    stage = Stage("segment", (SEGMENTATION_JOBS,), step, (PROFILE_CHANGES,))
    records = [record(number) for number in range(3)]
    outcome = await run(Attempt(stage, SEGMENTATION_JOBS, lambda connection: {}), records)
    assert passed(outcome) == [0, 2]
    assert dead(outcome) == {1: "output_too_large"}


async def test_an_output_may_be_as_large_as_its_topic_allows_its_key_counted():
    async def step(jobs: Sequence[SegmentationJob]) -> list[ProfileChange]:
        return [sized(int(job.profile)) for job in jobs]

    def sized(extra: int) -> ProfileChange:
        change = ProfileChange(profile="p", version=1, at=moment(0), traits={"x": ""})
        empty = PROFILE_CHANGES.encode(change)
        change.traits["x"] = "x" * (PROFILE_CHANGES.max_bytes - len(empty.value) - len(empty.key) + extra)
        return change

    stage = Stage("segment", (SEGMENTATION_JOBS,), step, (PROFILE_CHANGES,))
    records = [record(0), record(1)]
    outcome = await run(Attempt(stage, SEGMENTATION_JOBS, lambda connection: {}), records)
    assert dead(outcome) == {1: "output_too_large"}
    assert outcome.dead_letters == 1


async def test_a_known_poison_is_not_tried_again():
    _, _, calls = await attempt({0: Poison("bad")}, [record(0)])
    assert calls == 1


async def test_an_outage_while_an_error_is_looked_at_again_is_an_outage():
    errors = [KeyError("x"), Unavailable("postgresql")]

    async def step(jobs: Sequence[SegmentationJob]) -> list[ProfileChange]:
        raise errors.pop(0)

    stage = Stage("segment", (SEGMENTATION_JOBS,), step, (PROFILE_CHANGES,))
    with pytest.raises(Unavailable):
        await run(Attempt(stage, SEGMENTATION_JOBS, lambda connection: {}), [record(0)])


async def test_a_dead_letter_says_where_its_record_lay_and_claims_no_origin_that_nobody_knows():
    outcome, _, _ = await attempt({}, [msgspec.structs.replace(record(5), value=None)])
    (message,) = outcome.messages
    headers = tuple(message.headers)
    letter = DEAD_LETTERS.codec.decode(Record("dead-letters", 0, 0, 0, message.key, message.value, headers))
    assert (letter.topic, letter.partition, letter.offset, letter.origin) == ("segmentation-jobs", 0, 5, None)
    assert (letter.reason, letter.stage, letter.value) == ("null_value", "segment", b"")


def test_a_record_that_came_without_time_and_headers_has_none():
    raw = SimpleNamespace(partition=1, offset=2, timestamp=None, key=None, value=b"x", headers=None)
    assert to_record(raw, "tracks") == Record("tracks", 1, 2, 0, None, b"x", ())


async def test_a_payload_that_was_sent_again_and_fails_keeps_its_origin_its_count_and_its_attempt():
    async def step(payloads: Sequence[TrackedPayload]) -> list[object]:
        raise ValueError("a bug")

    replay = Replay(Origin(1, 5, 3), 7000, "failure", "shop", attempt=2)
    made = Attempt(Stage("validate", (TRACKS,), step), TRACKS, lambda connection: {}, replay_of=lambda payload: replay)
    outcome = await run(made, [Record("tracks", 0, 900, 9000, b"k", b"{}")])
    (letter,) = outcome.messages
    headers = dict(letter.headers)
    assert (headers["dlq.origin"], headers["dlq.source"], headers["dlq.attempt"]) == (b"1/5/3", b"shop", b"2")
    assert (headers["dlq.counted"], headers["dlq.received_ms"]) == (b"True", b"7000")
    # A new one has its own place, and nobody has counted it.
    made = Attempt(Stage("validate", (TRACKS,), step), TRACKS, lambda connection: {})
    outcome = await run(made, [Record("tracks", 0, 900, 9000, b"k", b"{}")])
    headers = dict(outcome.messages[0].headers)
    assert headers["dlq.origin"] == b"0/900/-1"
    assert "dlq.counted" not in headers


async def test_a_rejected_event_that_was_sent_again_knows_how_often():
    seen: list[RejectedEvent] = []

    async def step(items: Sequence[RejectedEvent]) -> list[object]:
        seen.extend(items)
        return []

    rejected = RejectedEvent(
        origin=Origin(0, 1, 0), id="e", source="s", reasons=[], received_at=moment(0), payload=msgspec.Raw(b"{}")
    )
    record = Record("events-rejected", 0, 1, 0, b"k", msgspec.json.encode(rejected), ((ATTEMPT_HEADER, b"4"),))
    stage = Stage("record-failures", (EVENTS_REJECTED,), step)
    await run(Attempt(stage, EVENTS_REJECTED, lambda connection: {}), [record])
    assert [item.attempt for item in seen] == [4]


@pytest.mark.parametrize("field", ["save", "keep"])
async def test_of_an_event_whose_content_may_not_be_stored_none_is_in_its_dead_letter(field: str):
    async def step(events: Sequence[ValidEvent]) -> list[IdentifiedEvent]:
        raise Poison("bad")

    made = [event(1, **{field: False}), event(2)]
    sent = [msgspec.convert(one, ValidEvent, from_attributes=True) for one in made]
    records = [Record("events-valid", 0, n, 0, b"session", msgspec.json.encode(one)) for n, one in enumerate(sent)]
    outcome = await run(Attempt(Stage("identify", (EVENTS_VALID,), step, ()), EVENTS_VALID, lambda _: {}), records)
    emptied, whole = [DEAD_LETTERS.codec.decode(as_record(message)) for message in outcome.messages]
    assert (emptied.key, emptied.value, emptied.origin) == (None, NOT_KEPT, sent[0].origin)
    assert (whole.key, whole.value) == (b"session", records[1].value)


def as_record(message: Message) -> Record:
    return Record(message.topic, 0, 0, 0, message.key, message.value, tuple(message.headers))


async def done_under(revision: int, topic: Topic, record: Record) -> bool:
    """Whether a stage that knows the definitions up to `revision` does the record, or waits."""

    async def step(models: Sequence[object]) -> list[object]:
        return []

    tools = {"definitions": Definitions([], {}, revision)}
    stage, replays = Stage("some", (topic,), step), Replays(KEY)
    made = Attempt(stage, topic, lambda connection: tools, replay_of=lambda p: replays.read(p.replay, p.body))
    try:
        await run(made, [record])
    except Unavailable as error:
        assert error.cause == "definitions behind"
        return False
    return True


KEY = b"the key of these tests"
SIGNED = Replays(KEY).sign(Replay(Origin(0, 1, 0), 0, "failure", revision=5), b"{}")
JUDGED = b'{"profile":"p","revision":5}'


@pytest.mark.parametrize(
    ("topic", "value", "headers"),
    [
        (SEGMENTATION_JOBS, JUDGED, ()),
        (SEGMENTATION_JOBS, b'{"profile":"p"}', ((REVISION_HEADER, b"5"),)),
        (TRACKS, b"{}", ((REPLAY_HEADER, SIGNED),)),
    ],
    ids=["judged by an earlier stage", "sent again", "a payload sent again"],
)
async def test_a_record_waits_for_the_definitions_that_it_is_to_be_judged_by(
    topic: Topic, value: bytes, headers: tuple[tuple[str, bytes], ...]
):
    record = Record(topic.name, 0, 1, 0, b"k", value, headers)
    assert [await done_under(revision, topic, record) for revision in (0, 4, 5, 6)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("topic", "headers"),
    [
        (TRACKS, ((REVISION_HEADER, b"5"),)),
        (TRACKS, ((REPLAY_HEADER, b"0" * 32 + SIGNED[32:]),)),
        (DEAD_LETTERS, ((REVISION_HEADER, b"5"), ("dlq.partition", b"0"), ("dlq.offset", b"1"))),
        (foreign_topic("orders"), ((REVISION_HEADER, b"5"),)),
        (SEGMENTATION_JOBS, ((REVISION_HEADER, b"9" * 40),)),
        (SEGMENTATION_JOBS, ((REVISION_HEADER, b"five"),)),
    ],
    ids=["tracks", "a forged replay", "dead letters", "a foreign topic", "no revision", "no number"],
)
async def test_nobody_else_can_make_a_stage_wait(topic: Topic, headers: tuple[tuple[str, bytes], ...]):
    assert await done_under(0, topic, Record(topic.name, 0, 1, 0, b"k", b'{"profile":"p"}', headers))
