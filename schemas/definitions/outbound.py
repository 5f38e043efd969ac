"""What goes out: destinations."""

from typing import Any, Literal

from pydantic import Field, HttpUrl

from schemas.definitions.base import Condition, Definition, Id, TopicPart


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
    headers: dict[str, str] = Field(default_factory=dict)
    timeout_s: float = Field(default=10, gt=0, le=60)
    enabled: bool = True

    def model_post_init(self, context: Any, /) -> None:
        if (self.type == "webhook") != (self.url is not None):
            raise ValueError("a webhook needs a url, a kafka destination has none")
