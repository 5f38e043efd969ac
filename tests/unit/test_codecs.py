"""Records to models and back: whatever a record holds, it is read or refused by name."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codecs import DeadLetterCodec, PayloadCodec, Undecodable
from schemas.events import EmittedEvent, Record
from schemas.failures import DeadLetter
from schemas.origin import Origin
from schemas.topics import CATALOGUE, PROFILE_CHANGES, TRACKS, Topic, destination_topic

TOPICS = [*CATALOGUE, destination_topic("crm")]
each_topic = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
header_values = st.none() | st.binary(max_size=6)
names = st.sampled_from(["headwater-hops", "headwater-bridge", "dlq.partition", "dlq.offset", "dlq.origin", "x", ""])
headers = st.lists(st.tuples(names, header_values), max_size=6).map(tuple)
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def record(value: bytes | None = b"{}", headers: tuple = (), timestamp: int = 0, key: bytes | None = None) -> Record:
    return Record("tracks", 3, 41, timestamp, key, value, headers)


@pytest.mark.parametrize(
    "topic",
    [topic for topic in TOPICS if topic.name not in ("dead-letters", "tracks")],
    ids=lambda topic: topic.name,
)
@pytest.mark.parametrize(("value", "reason"), [(None, "null_value"), (b"", "empty_value")])
def test_a_record_without_a_value_is_refused(topic: Topic, value: bytes | None, reason: str):
    with pytest.raises(Undecodable) as caught:
        topic.codec.decode(record(value))
    assert caught.value.reason == reason


@each_topic
@given(value=st.binary(max_size=40), headers=headers)
def test_whatever_a_record_holds_it_is_read_or_refused_by_name(topic: Topic, value: bytes, headers: tuple):
    try:
        model = topic.codec.decode(record(value, headers))
    except Undecodable as error:
        assert error.reason.isidentifier()
    else:
        assert isinstance(model, topic.models[0] if topic.models else dict)


@pytest.mark.parametrize("value", [b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'{"profile":"p","version":1e400}'])
def test_what_is_not_the_topics_model_is_refused_without_quoting_it(value: bytes):
    with pytest.raises(Undecodable) as caught:
        PROFILE_CHANGES.codec.decode(record(value))
    assert caught.value.reason == "not_this_topics_model"
    assert caught.value.exception in {"ValidationError", "DecodeError", "UnicodeDecodeError", "RecursionError"}


def test_a_payload_knows_its_place_and_stays_the_bytes_that_it_was():
    found = TRACKS.codec.decode(record(b' {"a": 1}\n', key=b"\xff", timestamp=1_767_225_600_123))
    assert (found.partition, found.offset, found.key, found.body) == (3, 41, b"\xff", b' {"a": 1}\n')
    assert found.received_at == datetime(2026, 1, 1, 0, 0, 0, 123_000, UTC)


@pytest.mark.parametrize(("timestamp", "year"), [(-1, 1970), (0, 1970), (7_258_118_400_000, 2200), (2**63 - 1, 9999)])
def test_any_time_of_a_record_can_be_read(timestamp: int, year: int):
    assert TRACKS.codec.decode(record(timestamp=timestamp)).received_at.year == year


def test_a_record_without_a_time_came_in_1970():
    assert TRACKS.codec.decode(record(timestamp=0)).received_at == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        (b"0", 0),
        (b"7", 7),
        (b"999", 999),
        (b"1000", 0),
        (b"9" * 5000, 0),
        (b"-1", 0),
        (b"+1", 0),
        (b"1.5", 0),
        (b" 1", 0),
        (b"", 0),
        (b"\xd9\xa3", 0),
        (None, 0),
    ],
)
def test_hops_are_a_small_number_or_none(value: bytes | None, hops: int):
    assert TRACKS.codec.decode(record(headers=(("headwater-hops", value),))).hops == hops
    assert TRACKS.codec.decode(record(headers=(("hops", b"5"), ("headwater-hops", value)))).hops == hops


@pytest.mark.parametrize(
    ("value", "bridge"),
    [(b"http", "http"), (b"workflow", "workflow"), (b"HTTP", "kafka"), (b"\xff", "kafka"), (None, "kafka")],
)
def test_a_bridge_is_one_of_three(value: bytes | None, bridge: str):
    assert TRACKS.codec.decode(record(headers=(("headwater-bridge", value),))).bridge == bridge
    assert TRACKS.codec.decode(record()).bridge == "kafka"


def test_an_emitted_event_arrives_as_a_payload_with_its_hops():
    message = TRACKS.encode(EmittedEvent(key="s1", hops=4, payload=msgspec.Raw(b'{"events":[]}')))
    found = PayloadCodec().decode(record(message.value, tuple(message.headers), key=message.key))
    assert (found.body, found.hops, found.bridge, found.key) == (b'{"events":[]}', 4, "workflow", b"s1")


def test_a_dead_letter_of_nothing_for_no_reason_can_be_read_too():
    place = (("dlq.partition", b"0"), ("dlq.offset", b"1"))
    found = DeadLetterCodec().decode(record(None, place))
    assert (found.value, found.reason, found.origin, found.source) == (b"", "unknown", None, "")


origins = st.none() | st.builds(Origin, st.integers(0, 99), st.integers(0, 2**62), st.integers(-1, 499))
letters = st.builds(
    DeadLetter,
    key=st.none() | st.binary(max_size=9),
    value=st.binary(max_size=30),
    reason=text.filter(bool),
    stage=text,
    topic=text,
    partition=st.integers(0, 99),
    offset=st.integers(0, 2**62),
    origin=origins,
    source=text,
    exception=text,
)


@given(letters)
def test_a_dead_letter_is_the_same_after_its_way_through_headers(letter: DeadLetter):
    message = DeadLetterCodec().encode("dead-letters", None, letter)
    assert (message.key, message.value) == (letter.key, letter.value)
    found = DeadLetterCodec().decode(record(message.value, tuple(message.headers), key=message.key))
    assert found == letter


@pytest.mark.parametrize(
    "damage",
    [
        {"dlq.partition": b""},
        {"dlq.partition": None},
        {"dlq.offset": b"one"},
        {"dlq.offset": b"9" * 5000},
        {"dlq.origin": b"1/2"},
        {"dlq.origin": b"1/2/3/4"},
        {"dlq.origin": b"a/b/c"},
        {"dlq.partition": b"\xff"},
    ],
    ids=repr,
)
def test_a_dead_letter_without_its_place_is_refused(damage: dict[str, bytes | None]):
    good = {"dlq.partition": b"0", "dlq.offset": b"1", "dlq.origin": b"0/1/-1"}
    assert DeadLetterCodec().decode(record(b"x", tuple(good.items()))).origin == Origin(0, 1, -1)
    with pytest.raises(Undecodable) as caught:
        DeadLetterCodec().decode(record(b"x", tuple((good | damage).items())))
    assert caught.value.reason == "not_a_dead_letter"


@pytest.mark.parametrize(
    "forged",
    [
        {"dlq.source": b"a\0b"},
        {"dlq.partition": b"99999999999"},
        {"dlq.offset": b"9" * 30},
        {"dlq.origin": b"1/2/99999999999"},
        {"dlq.partition": b"one"},
    ],
    ids=repr,
)
def test_a_dead_letter_that_could_not_be_stored_is_refused(forged: dict[str, bytes]):
    headers = {"dlq.partition": b"0", "dlq.offset": b"1", **forged}
    with pytest.raises(Undecodable, match="not_a_dead_letter"):
        DeadLetterCodec().decode(record(b"x", tuple(headers.items())))
