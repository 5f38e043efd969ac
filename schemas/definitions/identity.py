"""Who is who: namespaces and identification points."""

from typing import Literal

from pydantic import Field

from schemas.definitions.base import Definition, EventType, Id, Part, Path


class Namespace(Definition):
    """A kind of identifier: a customer number, an e-mail. Undefined namespaces have these defaults."""

    kind: Literal["namespace"] = "namespace"
    normalise: Literal["trim", "lower", "digits"] = "trim"
    #: A person has at most one: profiles that have different ones are never merged, the conflict is reported.
    unique: bool = False


class Identifier(Part):
    """A property that identifies someone."""

    namespace: Id
    path: Path = Field(alias="property")


class IdentificationPoint(Definition):
    """For this event type (from this source, or any), these properties say who it is."""

    kind: Literal["identification-point"] = "identification-point"
    event_type: EventType
    source: Id | None = None
    identifiers: tuple[Identifier, ...] = Field(min_length=1)
    enabled: bool = True
