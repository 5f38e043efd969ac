"""The topic catalogue, as data: what each topic holds, how it is keyed, kept and bounded, and why.

Names have no prefix here; `HEADWATER_TOPIC_PREFIX` is put before them where Kafka is met.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.codecs import Codec, DeadLetterCodec, ForeignCodec, JsonCodec, KeyOf, Message, PayloadCodec
from schemas.events import (
    AcceptedEvent,
    BridgedPayload,
    EmittedEvent,
    ForeignRecord,
    IdentifiedEvent,
    TrackedPayload,
    ValidEvent,
    WorkflowRun,
)
from schemas.failures import DeadLetter, RejectedEvent
from schemas.limits import MAX_RECORD_BYTES, MAX_TRANSIT_BYTES
from schemas.profiles import Delivery, MergeJob, ProfileChange, SegmentationJob

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Topic:
    """One topic. `models` are the types that a stage returns to have them written here; what is read is the first, or
    what its reader makes of it: the event and more, the rest of it still empty."""

    name: str
    models: tuple[type, ...]
    key: KeyOf = field(compare=False)
    codec: Codec = field(compare=False)
    why: str
    retention_ms: int = 3 * DAY_MS
    max_bytes: int = MAX_TRANSIT_BYTES
    #: None: as many as HEADWATER_PARTITIONS says. Never changed in place.
    partitions: int | None = None
    #: Written with a transactional.id per lane, so that a woken worker cannot write an older version last.
    fenced: bool = False
    #: Segments close (and so expire or compact) well before retention ends.
    config: Mapping[str, str] = field(default_factory=dict)

    def encode(self, model: Any) -> Message:
        """The message that carries `model`."""
        return self.codec.encode(self.name, self.key(model), model)


def _by_session(event: ValidEvent) -> str:
    return event.session or event.id


def _by_profile(event: ValidEvent) -> str:
    return event.profile or event.session or event.id


TRACKS = Topic(
    "tracks",
    (TrackedPayload, EmittedEvent, BridgedPayload),
    key=lambda event: event.key,
    codec=PayloadCodec(),
    retention_ms=7 * DAY_MS,
    max_bytes=MAX_RECORD_BYTES,
    why="what came in, byte for byte; kept for a week, so that everything after it can be done again",
)
EVENTS_VALID = Topic(
    "events-valid",
    (ValidEvent,),
    key=_by_session,
    codec=JsonCodec(IdentifiedEvent),
    why="one event a record; keyed by session, so that identify sees a session's events in order",
)
EVENTS_REJECTED = Topic(
    "events-rejected",
    (RejectedEvent,),
    key=lambda event: event.id,
    codec=JsonCodec(RejectedEvent),
    retention_ms=7 * DAY_MS,
    why="events that parsed and are wrong, with typed reasons",
)
EVENTS_IDENTIFIED = Topic(
    "events-identified",
    (IdentifiedEvent,),
    key=_by_profile,
    codec=JsonCodec(AcceptedEvent),
    why="keyed by profile from here on: the order of a profile's events is their order here",
)
EVENTS_ACCEPTED = Topic(
    "events-accepted",
    (AcceptedEvent,),
    key=_by_profile,
    codec=JsonCodec(WorkflowRun),
    why="events recorded exactly once",
)
WORKFLOW_RUNS = Topic(
    "workflow-runs",
    (WorkflowRun,),
    key=_by_profile,
    codec=JsonCodec(WorkflowRun),
    why="each event with the workflows that its rules chose",
)
MERGE_JOBS = Topic(
    "merge-jobs",
    (MergeJob,),
    key=lambda job: job.profiles[0],
    codec=JsonCodec(MergeJob),
    why="profiles that are one person; only merge links profiles",
)
SEGMENTATION_JOBS = Topic(
    "segmentation-jobs",
    (SegmentationJob,),
    key=lambda job: job.profile,
    codec=JsonCodec(SegmentationJob),
    why="profiles whose state changed",
)
PROFILE_CHANGES = Topic(
    "profile-changes",
    (ProfileChange,),
    key=lambda change: change.profile,
    codec=JsonCodec(ProfileChange),
    fenced=True,
    retention_ms=-1,
    # What was said of somebody who is erased since is gone after eight days.
    config={
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(7 * DAY_MS),
        "max.compaction.lag.ms": str(8 * DAY_MS),
    },
    why="every profile's latest state, for whoever wants it; public",
)
DEAD_LETTERS = Topic(
    "dead-letters",
    (DeadLetter,),
    key=lambda letter: None,
    codec=DeadLetterCodec(),
    retention_ms=7 * DAY_MS,
    why="bytes that could not be processed; kept in PostgreSQL too, by record-failures",
)
CONFIG = Topic(
    "config",
    (),
    key=lambda definition: definition.key,
    codec=JsonCodec(dict),
    partitions=1,
    retention_ms=-1,
    config={"cleanup.policy": "compact", "max.compaction.lag.ms": str(HOUR_MS)},
    why="the definitions in force; every process holds them in memory from here",
)

CATALOGUE: tuple[Topic, ...] = (
    TRACKS,
    EVENTS_VALID,
    EVENTS_REJECTED,
    EVENTS_IDENTIFIED,
    EVENTS_ACCEPTED,
    WORKFLOW_RUNS,
    MERGE_JOBS,
    SEGMENTATION_JOBS,
    PROFILE_CHANGES,
    DEAD_LETTERS,
    CONFIG,
)
#: Everything a stage may return, and where it goes.
TOPIC_OF: Mapping[type, Topic] = {model: topic for topic in CATALOGUE for model in topic.models}


def destination_topic(destination: str) -> Topic:
    """The topic that one destination's deliveries wait in: a consumer group each, a public contract."""
    return Topic(
        f"destination-{destination}",
        (Delivery,),
        key=lambda delivery: delivery.profile,
        codec=JsonCodec(Delivery),
        retention_ms=7 * DAY_MS,
        why="what one destination is owed, in order by profile",
    )


#: Before the name of a topic that is not ours: no topic of Kafka's can be called so, and no prefix belongs before it.
_FOREIGN = "foreign:"


def foreign_topic(name: str) -> Topic:
    """A topic of others, as a bridge reads it."""
    return Topic(
        _FOREIGN + name, (ForeignRecord,), key=lambda record: record.key, codec=ForeignCodec(), why="what others write"
    )


def full_name(prefix: str, topic: str) -> str:
    """What Kafka calls a topic of this installation, or one of others."""
    return topic.removeprefix(_FOREIGN) if topic.startswith(_FOREIGN) else prefix + topic


def topic_of(model: Any) -> Topic:
    """Where a model that a step returned goes. Raises KeyError for what no topic holds."""
    if isinstance(model, Delivery):
        return destination_topic(model.destination)
    return TOPIC_OF[type(model)]
