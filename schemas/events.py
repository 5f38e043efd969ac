"""An event on its way; the type says how far it has come. Stages that do not look into `properties` never parse it."""

from datetime import datetime
from typing import Any

import msgspec

from schemas.origin import Origin

EMPTY_OBJECT = msgspec.Raw(b"{}")


class Record(msgspec.Struct, frozen=True, gc=False):
    """What the runner hands a codec: one Kafka record, whoever read it. `timestamp` is in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class TrackedPayload(msgspec.Struct, frozen=True, gc=False):
    """One tracker payload as it was received, byte for byte, and where it lies in `tracks`."""

    partition: int
    offset: int
    received_at: datetime
    #: None for a record without a value.
    body: bytes | None
    key: bytes | None = None
    #: How many workflow emissions led to this payload (a header; 0 for what clients send).
    hops: int = 0
    #: How it came: "http" through the door, "workflow", else written to the topic: "kafka".
    bridge: str = "kafka"
    #: The header of a payload that is sent once more, signed; see schemas.replays.
    replay: bytes = b""
    #: Emitted by a workflow that ran on a quiet event.
    quiet: bool = False
    #: The header in which the door says whose request it was, where a source asks for it; see workflows.clients.
    client: bytes = b""


class ValidEvent(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One event: its source known and enabled, its name normalised, its properties as its event type demands."""

    origin: Origin
    id: str
    #: Of what the client sent, hex: tells a resend (same id, same fingerprint) from an id used twice.
    fingerprint: str
    source: str
    type: str
    session: str | None = None
    #: The profile id that the door answered with: the client's own where it is one of ours, else a minted one. None for
    #: an event of nobody (`profile_less`), which has no profile and makes none.
    profile: str | None = None
    occurred_at: datetime
    received_at: datetime
    properties: msgspec.Raw = EMPTY_OBJECT
    #: The payload's context with the event's own on top.
    context: msgspec.Raw = EMPTY_OBJECT
    #: False: processed as any other, but its content is not stored (an ephemeral source, or the client's saveEvents).
    save: bool = True
    #: False: its session says whose it is, and in which order it takes effect, and is not stored (`saveSession`).
    save_session: bool = True
    #: False: until its consents have been looked at, it is not to be kept where it fails either.
    keep: bool = True
    #: The client's clock ran ahead: `occurred_at` is the time of receipt instead.
    time_corrected: bool = False
    hops: int = 0
    #: The config revision that the event was judged by.
    revision: int = 0
    #: A replay without outbound effects: nothing that comes of it goes to a destination.
    quiet: bool = False
    #: How often it was sent again after it had failed.
    attempt: int = 0


class IdentifiedEvent(ValidEvent, kw_only=True, omit_defaults=True):
    """The event with its profile: `profile` is now the id of a stored profile (none only for events without one)."""

    #: The first of its session.
    opens_visit: bool = False
    #: What its source looks up of the profile; not stored with the event.
    traits: dict[str, Any] = {}
    #: Each consent that is defined, and whether the profile has given it; not stored either.
    consents: dict[str, bool] = {}


class AcceptedEvent(IdentifiedEvent, kw_only=True, omit_defaults=True):
    """The event, recorded exactly once, with its profile's counters as of this event."""

    #: How often the profile has sent each event type, this event included.
    counters: dict[str, int] = {}


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of what a workflow run waited for: a value, or an error's name, or (neither) that the time is over."""

    value: Any = None
    error: str = ""
    is_late: bool = False


class Resumption(msgspec.Struct, frozen=True, omit_defaults=True):
    """The time of a run that waits has come, or answers have: node to answer. `at`: when, by our clock."""

    workflow: str
    at: datetime
    answers: dict[str, Answer] = {}


class WorkflowRun(AcceptedEvent, kw_only=True, omit_defaults=True):
    """The event with the workflows that the rules chose for it, in order; maybe none."""

    workflows: list[str] = []
    #: The config revision that the rules were of: who runs the workflows must know at least that one.
    routed_revision: int = 0
    #: Not a new event: a run of this one, which had waited, goes on.
    resumption: Resumption | None = None


class ForeignRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of a topic that is not ours, its value JSON. `timestamp` is in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: str | None
    headers: dict[str, str]
    value: Any


class BridgedPayload(msgspec.Struct, frozen=True, gc=False):
    """A payload that a bridge made of such a record: it goes to `tracks`, like any client's."""

    key: str
    payload: msgspec.Raw


class EmittedEvent(msgspec.Struct, kw_only=True, gc=False):
    """An event that a workflow makes: it goes to `tracks` as a payload of its own, like any client's."""

    key: str
    hops: int
    payload: msgspec.Raw
    quiet: bool = False
