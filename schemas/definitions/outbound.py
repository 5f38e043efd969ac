"""What goes out, and where we ask: destinations and resources."""

from typing import Any, Literal, Self

from pydantic import Field, HttpUrl, model_validator

from schemas.definitions.base import Condition, Definition, Id, Part, TopicPart
from schemas.definitions.secret import SecretText


class Credentials(Part):
    """How a resource is reached. `headers` go with every HTTP request; a PostgreSQL resource has a `dsn`."""

    url: HttpUrl | None = None
    headers: dict[str, SecretText] = Field(default_factory=dict)
    dsn: SecretText | None = None


class Resource(Definition):
    """A service or database that workflows ask. `test` is what workflows are tried out with."""

    kind: Literal["resource"] = "resource"
    type: Literal["http", "postgresql"]
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
            is_http = credentials.url is not None and credentials.dsn is None
            if is_http != (self.type == "http") or (credentials.dsn is None and credentials.url is None):
                raise ValueError("an http resource has a url, a postgresql one a dsn")
            if credentials.url is not None and (credentials.url.query or credentials.url.fragment):
                raise ValueError("a resource's url ends with its path")
        return self


class Destination(Definition):
    """Where profile changes go: a webhook that dispatch calls, or just the topic `destination-<id>` to consume."""

    kind: Literal["destination"] = "destination"
    id: TopicPart
    type: Literal["webhook", "kafka"] = "kafka"
    #: Only people who have given all of these; what workflows send too.
    consents: tuple[Id, ...] = ()
    #: Private traits go there too.
    private: bool = False
    #: Which changes; all where missing. Sends of workflows always go.
    condition: Condition | None = None
    #: What is sent: field name to CEL over `profile` and `change`; the whole change where empty.
    mapping: dict[str, Condition] = Field(default_factory=dict)
    url: HttpUrl | None = None
    headers: dict[str, SecretText] = Field(default_factory=dict)
    timeout_s: float = Field(default=10, gt=0, le=60)
    enabled: bool = True

    def model_post_init(self, context: Any, /) -> None:
        if (self.type == "webhook") != (self.url is not None):
            raise ValueError("a webhook needs a url, a kafka destination has none")
