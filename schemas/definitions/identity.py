"""Who is who: namespaces, identification points, what guards merging, and what becomes of traits."""

from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from schemas.definitions.base import Definition, EventType, Id, Part, Path

Strategy = Literal["auto", "latest", "earliest", "min", "max", "union", "survivor", "sum", "refuse"]


class Namespace(Definition):
    """A kind of identifier: a customer number, an e-mail. Undefined namespaces have these defaults."""

    kind: Literal["namespace"] = "namespace"
    #: The one form of its values: trimmed; lower-cased too; digits and + only; an e-mail address; E.164 of a phone.
    normalise: Literal["trim", "lower", "digits", "email", "phone"] = "trim"
    #: The country that phone numbers without a prefix are of, as PL.
    region: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    #: Values are stored as keyed hashes: they can be compared, and not be read.
    hashed: bool = False
    #: Values that never identify anybody, beside the well-known ones.
    junk: tuple[str, ...] = ()
    #: A person has at most one: profiles that have different ones are never merged, the conflict is reported.
    unique: bool = False
    #: A value may join two people who both are identified already (have a value in a unique namespace).
    joins_identified: bool = False
    max_per_profile: int = Field(default=100, ge=1)


class Identifier(Part):
    """A property (or a part of the context) that identifies someone, or several properties that do together: then all
    of them must be there."""

    namespace: Id
    path: Path | None = Field(default=None, alias="property")
    paths: tuple[Path, ...] = Field(default=(), alias="properties", max_length=5)
    context: Path | None = None

    def model_post_init(self, context: Any, /) -> None:
        if sum((self.path is not None, bool(self.paths), self.context is not None)) != 1:
            raise ValueError("an identifier has either a property, or properties, or a path into the context")

    @property
    def all_paths(self) -> tuple[str, ...]:
        """One path into the properties, or those that must all be there; or one into the context."""
        return self.paths or (self.path or self.context or "",)


class IdentificationPoint(Definition):
    """For this event type, or every (`*`), from this source, or any: these properties say who it is."""

    kind: Literal["identification-point"] = "identification-point"
    event_type: EventType | Literal["*"]
    source: Id | None = None
    identifiers: tuple[Identifier, ...] = Field(min_length=1)
    #: Whoever sends this has checked who it is (a login): what it ties together may both be identified already.
    verified: bool = False
    enabled: bool = True

    @cached_property
    def names(self) -> frozenset[tuple[bool, str]]:
        """What the paths of its identifiers begin with, and whether that is in the context: an event that has none of
        these shows none of them."""
        return frozenset(
            (identifier.context is not None, path.split(".")[0])
            for identifier in self.identifiers
            for path in identifier.all_paths
        )


class IdentityGuards(Definition):
    """Limits against profiles that swallow others. One definition; these are the defaults without any."""

    kind: Literal["identity-guards"] = "identity-guards"
    #: Identifiers of one person.
    max_identifiers: int = Field(default=1000, ge=1)
    #: Profiles that may become one.
    max_profiles: int = Field(default=1000, ge=2)


class TraitDefinition(Definition):
    """What becomes of a trait that is written more than once, or that two profiles have which become one.

    `auto` (without a definition): the latest wins by the time of its event; lists that are appended to unite when
    profiles do. `latest`, `earliest`, `min`, `max` and `union` mean the same for writing and for merging, so that the
    order of both does not matter. `survivor` (the older profile's stays), `sum` (for numbers that are written once) and
    `refuse` (profiles that differ are not merged) are about merging; writing is by the latest then.
    """

    kind: Literal["trait"] = "trait"
    merge: Strategy = "auto"
    #: It leaves through no destination that does not say that private traits go there.
    private: bool = False
