"""What comes in: sources, event types, and the shape that events are given."""

from typing import Any, Literal

from pydantic import Field

from schemas.definitions.base import Condition, Definition, EventType, Id, Path


class Source(Definition):
    """Where payloads may come from. Its id is what a payload's `source.id` must say."""

    kind: Literal["source"] = "source"
    enabled: bool = True
    #: Ways in that it may use: the door (http), or records written straight to `tracks` (kafka).
    bridges: tuple[Literal["http", "kafka"], ...] = ("http", "kafka")
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
    def keeps_raw(self) -> bool:
        """Whether what it sends is kept as it came, before any consent was looked at."""
        return not self.requires_consent if self.archive is None else self.archive


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
