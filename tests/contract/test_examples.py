"""Every topic has good and bad examples in schemas/examples, and each of them is what it says."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import schemas
from schemas.codecs import Message, Undecodable
from schemas.definitions import DEFINITION
from schemas.events import EmittedEvent, Record
from schemas.payload import read_event, read_payload
from schemas.reading import PayloadError
from schemas.topics import CATALOGUE, CONFIG, DEAD_LETTERS, TRACKS, Topic, destination_topic

EXAMPLES = Path(schemas.__file__).parent / "examples"
#: The folder of a topic's examples; all topics of destinations share one.
TOPICS = {topic.name: topic for topic in CATALOGUE} | {"destination": destination_topic("crm")}


def examples(kind: str, *without: Topic) -> list[Any]:
    left_out = {topic.name for topic in without}
    return [
        pytest.param(TOPICS[path.parent.name], path, id=f"{path.parent.name}/{path.stem}")
        for path in sorted(EXAMPLES.glob(f"*/{kind}-*.json"))
        if path.parent.name not in left_out
    ]


def record_of(topic: Topic, path: Path) -> Record:
    """The example as Kafka would hold it."""
    if topic is not DEAD_LETTERS:
        return Record(topic.name, 0, 0, 0, b"key", path.read_bytes())
    letter = json.loads(path.read_text())
    headers = tuple((name, value.encode()) for name, value in letter["headers"].items())
    return Record(topic.name, 0, 0, 0, letter["key"] and letter["key"].encode(), letter["value"].encode(), headers)


def again(message: Message) -> Record:
    return Record(message.topic, 0, 0, 0, message.key, message.value, tuple(message.headers))


def test_every_topic_has_a_good_and_a_bad_example_and_every_example_a_topic():
    for name in TOPICS:
        assert list((EXAMPLES / name).glob("good-*.json")), name
        assert list((EXAMPLES / name).glob("bad-*.json")), name
    assert {path.name for path in EXAMPLES.iterdir()} == set(TOPICS)
    for path in EXAMPLES.glob("*/*"):
        assert path.name.startswith(("good-", "bad-")) and path.suffix == ".json", path
        json.loads(path.read_text())


@pytest.mark.parametrize(("topic", "path"), examples("good", TRACKS, CONFIG))
def test_a_good_example_is_read_and_written_back_as_the_same_model(topic: Topic, path: Path):
    model = topic.codec.decode(record_of(topic, path))
    message = topic.encode(model)
    assert isinstance(model, topic.models[0])
    assert message.topic == topic.name
    assert topic.codec.decode(again(message)) == model


@pytest.mark.parametrize(("topic", "path"), examples("good", TRACKS, CONFIG, DEAD_LETTERS))
def test_nothing_of_a_good_example_is_lost_on_the_way_through_its_model(topic: Topic, path: Path):
    """A field that the model does not know would vanish without a word; so would one in which it has a typing error."""
    written = json.loads(topic.encode(topic.codec.decode(record_of(topic, path))).value)
    sent = json.loads(path.read_text())
    assert written == {**sent, **{name: written[name] for name in ("received_at", "at") if name in written}}


@pytest.mark.parametrize(("topic", "path"), examples("bad", TRACKS))
def test_a_bad_example_is_undecodable(topic: Topic, path: Path):
    with pytest.raises(Undecodable) as caught:
        topic.codec.decode(record_of(topic, path))
    assert caught.value.reason


def faults(body: bytes) -> list[str]:
    """Everything found against a payload and its events."""
    try:
        payload = read_payload(body)
    except PayloadError as error:
        return [error.code]
    events = map(read_event, payload.events)
    return [reason.code for reason in payload.reasons] + [reason.code for event in events for reason in event.reasons]


@pytest.mark.parametrize(("topic", "path"), [each for each in examples("good") if each.values[0] is TRACKS])
def test_a_good_payload_has_no_fault_and_stays_byte_for_byte(topic: Topic, path: Path):
    tracked = topic.codec.decode(record_of(topic, path))
    assert tracked.body == path.read_bytes()
    assert faults(tracked.body) == []
    emitted = EmittedEvent(key="key", hops=1, payload=msgspec.Raw(tracked.body))
    assert topic.codec.decode(again(topic.encode(emitted))).body == tracked.body


@pytest.mark.parametrize(("topic", "path"), [each for each in examples("bad") if each.values[0] is TRACKS])
def test_a_bad_payload_has_the_fault_that_its_name_says(topic: Topic, path: Path):
    expected = {
        "bad-no-events": "empty_batch",
        "bad-events-no-list": "empty_batch",
        "bad-not-an-object": "not_an_object",
        "bad-source-id-a-number": "invalid_source",
        "bad-session-undefined": "invalid_id",
        "bad-event-without-type": "invalid_type",
        "bad-properties-a-list": "invalid_properties",
        "bad-timestamp-now": "invalid_timestamp",
        "bad-number-too-large": "number_out_of_range",
    }
    assert faults(path.read_bytes()) == [expected[path.stem]]


@pytest.mark.parametrize(("topic", "path"), [each for each in examples("good") if each.values[0] is CONFIG])
def test_a_good_definition_can_be_used(topic: Topic, path: Path):
    published = topic.codec.decode(record_of(topic, path))
    assert published["revision"] > 0
    if published["body"] is not None:
        definition = DEFINITION.validate_python(published["body"])
        assert definition.key == f"{published['body']['kind']}/{published['body']['id']}"


@pytest.mark.parametrize("name", sorted(set(TOPICS) - {"tracks", "config", "dead-letters"}))
def test_the_good_examples_of_a_topic_show_every_field_of_its_model(name: str):
    shown: set[str] = set()
    for path in (EXAMPLES / name).glob("good-*.json"):
        shown |= json.loads(path.read_text()).keys()
    assert shown == set(TOPICS[name].models[0].__struct_fields__)


@pytest.mark.parametrize(("topic", "path"), examples("good", TRACKS))
def test_a_damaged_record_is_read_or_refused_and_nothing_else(topic: Topic, path: Path):
    record = record_of(topic, path)
    for place in range(0, len(record.value), 7):
        for damaged in (record.value[:place], record.value[:place] + b"\xff\x00]" + record.value[place + 3 :]):
            try:
                topic.codec.decode(msgspec.structs.replace(record, value=damaged))
            except Undecodable as error:
                assert error.reason
