"""Consents, and what becomes of data for which one is missing."""

from typing import Any, Literal

from pydantic import Field

from schemas.definitions.base import Definition, EventType, Id, Part, Path

#: The event type that says what a person agrees to, in its property `consents`. Any other may in its context.
CONSENT_UPDATE = "consent-update"


class ConsentType(Definition):
    """Something that a person may agree to."""

    kind: Literal["consent"] = "consent"
    #: What holds for a person who has said nothing.
    default: Literal["deny", "grant"] = "deny"
    #: A grant holds for so many days after the event that gave it.
    expires_days: int | None = Field(default=None, ge=1, le=36_500)


class Protected(Part):
    """A property (or a part of the context) that needs consents, all of them."""

    path: Path | None = Field(default=None, alias="property")
    context: Path | None = None
    consents: tuple[Id, ...] = Field(min_length=1)
    #: Without them: taken out, replaced by a keyed hash, or left.
    otherwise: Literal["erase", "hash", "keep"] = "erase"

    def model_post_init(self, context: Any, /) -> None:
        if (self.path is None) == (self.context is None):
            raise ValueError("either a property or a path into the context is protected")


class Compliance(Definition):
    """What events of this type (or any) from this source (or any) may hold only with consent.

    Applied before anything is stored or forwarded, and before anybody is identified by it.
    """

    kind: Literal["compliance"] = "compliance"
    event_type: EventType | None = None
    source: Id | None = None
    protected: tuple[Protected, ...] = Field(min_length=1)
    enabled: bool = True
