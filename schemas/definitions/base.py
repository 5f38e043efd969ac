"""What all definitions share, and the kinds of text that stand in them."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.limits import MAX_CONDITION_CHARS, MAX_ID_CHARS
from schemas.payload import normalise_type


def _event_type(name: str) -> str:
    normal = normalise_type(name)
    if not normal:
        raise ValueError("not an event type's name (letters, digits, - _ . : and spaces, at most 100)")
    return normal


def _event_types(pattern: str) -> str:
    if pattern == "*":
        return pattern
    # Something behind the beginning, so that it is written as where it is followed by more: `Order *` as `order-*`.
    return _event_type(pattern[:-1] + "x")[:-1] + "*" if pattern.endswith("*") else _event_type(pattern)


Id = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$", max_length=MAX_ID_CHARS)]
#: Part of a Kafka topic's name, where `.` and `_` collide in metrics.
TopicPart = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=MAX_ID_CHARS)]
EventType = Annotated[str, AfterValidator(_event_type)]
#: One event type, all that begin so (`order-*`), or all (`*`).
EventTypes = Annotated[str, AfterValidator(_event_types)]
Condition = Annotated[str, Field(min_length=1, max_length=MAX_CONDITION_CHARS)]
#: A dotted path into an event's properties, as `customer.id`.
Path = Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=500)]


class Part(BaseModel):
    """A part of a definition. Unknown fields are refused: a typing error must not pass in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Definition(Part):
    """What all definitions have."""

    kind: str
    id: Id
    description: str = ""

    @property
    def key(self) -> str:
        """The definition's address, and its key in the topic `config`."""
        return f"{self.kind}/{self.id}"
