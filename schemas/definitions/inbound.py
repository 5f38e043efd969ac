"""What comes in: sources, event types, and the shape that events are given."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from schemas.definitions.base import Condition, Definition, EventType, Id, Part, Path, TopicPart
from schemas.definitions.secret import SecretText

#: As browsers write it: lower-case, no path, no default port.
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$", max_length=300)]


RecordPath = Annotated[str, Field(pattern=r"^(key|(value|headers)(\.[^.\s]+)*)$", max_length=500)]

#: Ways in: payloads at the door's /track (http) or written straight to `tracks` (kafka); what libraries of Segment or
#: RudderStack and of PostHog send; /collect and /redirect; records of other topics.
Bridge = Literal["http", "kafka", "segment", "posthog", "collect", "redirect", "bridge"]
BRIDGES: tuple[Bridge, ...] = get_args(Bridge)


class Rate(Part):
    """How many events may come: so many a second over time, and so many at once after a pause."""

    per_second: float = Field(gt=0, le=1e9)
    burst: int | None = Field(default=None, ge=1)

    @property
    def at_once(self) -> float:
        """`burst`, or what comes in a second."""
        return self.burst or max(self.per_second, 1)


class Webhook(Part):
    """What /collect makes of a body: its event's id, session and client profile id lie at these paths of it."""

    event_id: Path | None = None
    session: Path | None = None
    profile: Path | None = None
    #: Bodies without a session and a profile get one of their own; else they are nobody's.
    makes_profiles: bool = False


class Source(Definition):
    """Where payloads may come from. Its id is what a payload's `source.id` must say, and a write key unless it
    requires one."""

    kind: Literal["source"] = "source"
    enabled: bool = True
    #: Ways in that it may use.
    bridges: tuple[Bridge, ...] = BRIDGES
    #: Its id is not enough at the door: whoever sends shows a write key of it (`headwater keys new`).
    requires_key: bool = False
    #: Pages of these origins only, as `https://shop.example`; of all where nothing is said.
    origins: tuple[Origin, ...] = ()
    #: What is taken of it in all, and from one address, by each door; then 429.
    rate: Rate | None = None
    rate_per_address: Rate | None = None
    webhook: Webhook = Webhook()
    #: Its requests are signed with one of these, as Standard Webhooks sign.
    signing: tuple[SecretText, ...] = Field(default=(), max_length=5)
    #: Its events are processed and counted; their content is not stored, nor archived.
    ephemeral: bool = False
    #: Consents without which its events are dropped.
    requires_consent: tuple[Id, ...] = ()
    #: Keep its payloads in the archive, byte for byte. Where nothing is said: unless it requires consent.
    archive: bool | None = None
    #: Profile ids that the client makes up are used (mapped); else ids that are not ours are replaced.
    client_profile_ids: bool = False
    #: What is added to its contexts, and what is made of addresses in them, before anything looks at them.
    enrich: tuple[Literal["client", "campaign", "referrer", "language", "user-agent", "geo", "anonymous-ip"], ...] = ()
    #: Traits of their profiles that its events carry from identify on, as they are then: `event.traits` in conditions.
    lookup: tuple[Id, ...] = ()
    #: Events that identify makes of what it finds out from this source's.
    system_events: tuple[Literal["profile-created", "session-opened", "visit-started", "visit-ended"], ...] = ()
    #: A session is one visit, which is over when nothing more was heard for so long, or a `visit-ended` event says so.
    session_idle_minutes: int = Field(default=30, ge=1, le=7 * 24 * 60)
    #: After which sessions are forgotten, but for that they were. Kept for ever where nothing is said.
    session_retention_days: int | None = Field(default=None, ge=1, le=36_500)

    @property
    def is_limited(self) -> bool:
        """Whether it has a rate."""
        return self.rate is not None or self.rate_per_address is not None

    @property
    def keeps_raw(self) -> bool:
        """Whether what it sends is kept as it came, before any consent was looked at."""
        return not self.requires_consent if self.archive is None else self.archive


class WriteKey(Definition):
    """A key that lets things in for a source: its id is the key's SHA-256, in hex. Made and removed by commands, not in
    files; the key itself is kept nowhere."""

    kind: Literal["write-key"] = "write-key"
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: Id
    #: The key's first characters, by which its owner knows it.
    begins: str = Field(default="", max_length=8)


class Redirect(Definition):
    """A link `/redirect/<id>`: whoever follows it makes an event, and is sent on to `url`, and nowhere else."""

    kind: Literal["redirect"] = "redirect"
    source: Id
    url: Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=2_000)]
    event_type: EventType
    #: Of the event; what the link's query says comes beside them.
    properties: dict[str, Any] = Field(default_factory=dict)
    enabled: bool = True


class BridgePaths(Part):
    """Where things lie in a record of another topic: `key`, or a path that begins with `value` or `headers`."""

    type: RecordPath | None = None
    event_id: RecordPath | None = None
    session: RecordPath | None = None
    profile: RecordPath | None = None
    #: ISO 8601, or seconds or milliseconds since 1970. Where there is none: the record's.
    timestamp: RecordPath | None = None
    properties: RecordPath = "value"
    context: RecordPath | None = None


class KafkaBridge(Definition):
    """Another topic of this Kafka whose records (JSON) are payloads of a source, each with one event."""

    kind: Literal["bridge"] = "bridge"
    #: Its stage is `bridge-<id>`.
    id: TopicPart
    #: As Kafka names it, without the installation's prefix.
    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$", max_length=249)]
    source: Id
    #: Of all its events; else it lies at the path `type`.
    event_type: EventType | None = None
    paths: BridgePaths = BridgePaths()
    enabled: bool = True

    def model_post_init(self, context: Any, /) -> None:
        if (self.event_type is None) == (self.paths.type is None):
            raise ValueError("either event_type or paths.type says what its events are")


class EventTypeDefinition(Definition):
    """What an event type's properties must look like. Event types without a definition are taken as they come."""

    kind: Literal["event-type"] = "event-type"
    id: EventType
    version: int = Field(default=1, ge=1)
    #: JSON Schema (draft 2020-12) of the properties.
    properties_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")


class Reshaping(Definition):
    """Gives events of this type (from this source, or any) for which the condition holds another shape.

    The first by id that applies is used, one an event. What comes out is checked as if it had been sent so.
    """

    kind: Literal["reshaping"] = "reshaping"
    event_type: EventType
    source: Id | None = None
    condition: Condition | None = None
    #: The event's new type.
    becomes: EventType | None = None
    #: New properties, and a new context: objects in which a text such as `$event.properties.order.id` stands for the
    #: value there. `$session.id` and `$context.page.url` too; `?` behind a path leaves out what is missing; `$$` is
    #: a dollar sign.
    properties: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    #: Then changes of the properties, in this order: from one path to another, values where there are none, paths out.
    move: dict[Path, Path] = Field(default_factory=dict)
    default: dict[Path, Any] = Field(default_factory=dict)
    drop: tuple[Path, ...] = ()
    #: What becomes of an event that lacks what the templates name: rejected, or kept as it is.
    unfilled: Literal["reject", "keep"] = "reject"
    enabled: bool = True
