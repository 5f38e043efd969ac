"""The catalogue: how records are keyed, how limits chain, what is kept for how long."""

from typing import Any

import msgspec
import pytest

from deploy.kafka import _new_topic
from schemas import limits
from schemas.events import AcceptedEvent, EmittedEvent, IdentifiedEvent, ValidEvent, WorkflowRun
from schemas.failures import DeadLetter, Reason, RejectedEvent
from schemas.profiles import Delivery, MergeJob, ProfileChange, SegmentationJob
from schemas.topics import CATALOGUE, CONFIG, PROFILE_CHANGES, TRACKS, topic_of
from tests.unit.making import event, moment, raw


def as_model(model: type, **fields: Any) -> Any:
    base = msgspec.structs.asdict(event(1, **fields))
    return model(**{name: value for name, value in base.items() if name in model.__struct_fields__})


def test_no_record_lives_by_the_clock_of_whoever_wrote_it() -> None:
    for topic in CATALOGUE:
        assert _new_topic(topic, "", 4, 1).config["message.timestamp.type"] == "LogAppendTime"


REJECTED = RejectedEvent(
    origin=event(1).origin, id="e", source="", reasons=[Reason("x")], received_at=moment(1), payload=raw({})
)
LETTER = DeadLetter(key=b"k", value=b"", reason="x", stage="s", topic="t", partition=0, offset=0)


@pytest.mark.parametrize(
    ("model", "topic", "key"),
    [
        (EmittedEvent(key="s", hops=1, payload=raw({})), "tracks", b"s"),
        (as_model(ValidEvent, session="s", profile="p"), "events-valid", b"s"),
        (as_model(ValidEvent, profile="p"), "events-valid", b"event-1"),
        (REJECTED, "events-rejected", b"e"),
        (as_model(IdentifiedEvent, session="s", profile="p"), "events-identified", b"p"),
        (as_model(IdentifiedEvent, session="s"), "events-identified", b"s"),
        (as_model(IdentifiedEvent), "events-identified", b"event-1"),
        (as_model(AcceptedEvent, session="s", profile="p"), "events-accepted", b"p"),
        (as_model(WorkflowRun, session="s", profile="p"), "workflow-runs", b"p"),
        (MergeJob(profiles=["p", "q"], cause="identifier", namespace="n", event="e"), "merge-jobs", b"p"),
        (SegmentationJob(profile="p"), "segmentation-jobs", b"p"),
        (ProfileChange(profile="p", version=1, at=moment(0)), "profile-changes", b"p"),
        (Delivery(id="d", destination="crm", profile="p", version=1, body={}), "destination-crm", b"p"),
        (LETTER, "dead-letters", b"k"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else "",
)
def test_each_model_goes_to_its_topic_under_its_key(model: Any, topic: str, key: bytes):
    message = topic_of(model).encode(model)
    assert (message.topic, message.key) == (topic, key)


def test_limits_chain_so_that_what_is_accepted_always_fits():
    assert limits.MAX_EVENT_BYTES < limits.MAX_BODY_BYTES < limits.MAX_RECORD_BYTES
    assert TRACKS.max_bytes == limits.MAX_RECORD_BYTES
    # Between stages an event carries its payload's context, and a rejected one its payload's ids.
    assert all(topic.max_bytes > limits.MAX_BODY_BYTES for topic in CATALOGUE)


def test_what_must_be_kept_is_compacted_and_all_else_expires():
    kept = [topic for topic in CATALOGUE if topic.retention_ms < 0]
    assert kept == [PROFILE_CHANGES, CONFIG]
    for topic in CATALOGUE:
        assert (topic.config.get("cleanup.policy") == "compact") == (topic in kept), topic.name
    assert CONFIG.partitions == 1


def test_every_topic_says_why_it_is_there():
    for topic in CATALOGUE:
        assert topic.why and topic.name == topic.name.lower() and "." not in topic.name and "_" not in topic.name
