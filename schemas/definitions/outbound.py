"""What goes out, and where we ask: destinations and resources."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, HttpUrl, model_validator

from schemas.definitions.base import Condition, Definition, EventTypes, Id, Part, Path, TopicPart
from schemas.definitions.secret import SecretText

Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$]*$", max_length=63)]


#: What may be said to a Kafka of somebody else's: how to get in. Names are librdkafka's.
KafkaSetting = Literal[
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.key.pem",
    "ssl.key.password",
]


class Credentials(Part):
    """How a resource is reached. `headers` go with every HTTP request; a PostgreSQL resource has a `dsn`, a Kafka
    `servers` (host:port, several with commas) and `settings`."""

    url: HttpUrl | None = None
    headers: dict[str, SecretText] = Field(default_factory=dict)
    dsn: SecretText | None = None
    servers: Annotated[str, Field(pattern=r"^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$")] | None = None
    settings: dict[KafkaSetting, SecretText] = Field(default_factory=dict)

    @property
    def type(self) -> str | None:
        """Of what type the resource is that is reached so; None for what is none, or several."""
        given = {"http": self.url, "postgresql": self.dsn, "kafka": self.servers}
        types = [type for type, place in given.items() if place is not None]
        return types[0] if len(types) == 1 else None


class Resource(Definition):
    """A service or database that workflows ask, or a Kafka that destinations write to. `test` is what workflows are
    tried out with."""

    kind: Literal["resource"] = "resource"
    type: Literal["http", "postgresql", "kafka"]
    production: Credentials
    test: Credentials | None = None
    #: Private traits may be sent to it.
    private: bool = False
    #: Asked at the same time by one worker, at most.
    parallel: int = Field(default=20, ge=1, le=200)

    @model_validator(mode="after")
    def _is_of_its_type(self) -> Self:
        for credentials in (self.production, self.test):
            if credentials is None:
                continue
            if credentials.type != self.type:
                raise ValueError("an http resource has a url, a postgresql one a dsn, a kafka one servers")
            if credentials.settings and self.type != "kafka":
                raise ValueError("settings are for kafka")
            if credentials.url is not None and (credentials.url.query or credentials.url.fragment):
                raise ValueError("a resource's url ends with its path")
        return self


class Table(Part):
    """A table of a PostgreSQL resource: a row a profile (or an event), whose columns `mapping` names. Its `key` has the
    profile's id (the delivery's, of events), its `version` the version that the row is of. A table of events has the
    profile's id in its column `person`, too: what is erased is found by it."""

    resource: Id
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$", max_length=128)]
    key: Column = "profile"
    version: Column = "version"
    person: Column | None = None


class Avro(Part):
    """Values in Avro, in the wire format of Confluent's schema registries: `registry` is an http resource, `subject` is
    `<topic>-value` where it is missing."""

    registry: Id
    subject: Annotated[str, Field(pattern=r"^[^/\s]*[^./\s][^/\s]*$", max_length=255)] | None = None
    record: dict[str, Any] = Field(alias="schema")


class KafkaTopic(Part):
    """A topic of the pipeline's Kafka, or of a kafka resource's: a record a delivery, as JSON or Avro. `key` and
    `headers` are fields of what is sent; the key is the profile's id where it is missing."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)]
    resource: Id | None = None
    key: Path | None = None
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=100)], Path] = Field(
        default_factory=dict
    )
    avro: Avro | None = None


class Destination(Definition):
    """Where profile changes (or events) go: a webhook that dispatch calls, a table or a topic that it writes, or just
    the topic `destination-<id>` to consume."""

    kind: Literal["destination"] = "destination"
    id: TopicPart
    #: `webhook`, `postgresql`, `kafka`, or what a package adds.
    type: TopicPart = "kafka"
    #: Events of these types instead of changes of profiles.
    events: tuple[EventTypes, ...] = ()
    #: Whose events; of all sources where it is missing.
    source: Id | None = None
    #: Only people who have given all of these; what workflows send too.
    consents: tuple[Id, ...] = ()
    #: Private traits go there too.
    private: bool = False
    #: Which changes, or events; all where missing. Sends of workflows always go.
    condition: Condition | None = None
    #: Only changes of one of these fields: `traits.email`, or `segments` for all of them.
    on_change: tuple[Path, ...] = ()
    #: What is sent: field name to CEL over `profile` and `change` (or `event`); the whole change where empty.
    mapping: dict[str, Condition] = Field(default_factory=dict)
    url: HttpUrl | None = None
    headers: dict[str, SecretText] = Field(default_factory=dict)
    #: What webhooks are signed with (Standard Webhooks, `whsec_` and base64); two while one replaces the other.
    signing: tuple[SecretText, ...] = Field(default=(), max_length=2)
    table: Table | None = None
    #: Of the type kafka: where deliveries are to be besides `destination-<id>`.
    topic: KafkaTopic | None = None
    #: For a type that a package adds.
    config: dict[str, Any] = Field(default_factory=dict)
    secrets: dict[str, SecretText] = Field(default_factory=dict)
    timeout_s: float = Field(default=10, gt=0, le=60)
    #: Of one profile's changes that wait, only the latest is sent.
    coalesce: bool = False
    #: Deliveries in one request, as a list.
    batch: int = Field(default=1, ge=1, le=1000)
    #: Requests a second that one worker makes, at most.
    rate_per_s: float | None = Field(default=None, gt=0)
    #: A delivery that was tried for so long becomes a dead letter; never, where it is missing.
    give_up_after_s: float | None = Field(default=None, gt=0)
    enabled: bool = True

    @property
    def is_dispatched(self) -> bool:
        """Whether a dispatcher brings its deliveries somewhere."""
        return self.type != "kafka" or self.topic is not None

    def model_post_init(self, context: Any, /) -> None:
        needs = {"webhook": (True, False), "postgresql": (False, True)}.get(self.type, (False, False))
        if needs != (self.url is not None, self.table is not None):
            raise ValueError("a webhook needs a url, postgresql a table; others have neither")
        if (self.config or self.secrets) and self.type in ("webhook", "postgresql", "kafka"):
            raise ValueError("config and secrets are for types that packages add")
        if self.topic is not None and self.type != "kafka":
            raise ValueError("a topic is for kafka")
        if self.type in ("postgresql", "kafka") and (self.batch > 1 or self.rate_per_s is not None):
            raise ValueError("batch and rate_per_s are for webhooks")
        if self.type == "postgresql" and not self.mapping:
            raise ValueError("a table needs a mapping: its columns")
        if self.table is not None and bool(self.events) != (self.table.person is not None):
            raise ValueError("a table of events has a column `person`, and no other has")
        if self.events and (self.on_change or self.coalesce):
            raise ValueError("events are no changes: on_change and coalesce are not for them")
        if self.source is not None and not self.events:
            raise ValueError("a source is for events")


class Pause(Definition):
    """A destination whose deliveries wait, as an operator said. Made and removed by commands, not in files."""

    kind: Literal["pause"] = "pause"
    id: TopicPart
