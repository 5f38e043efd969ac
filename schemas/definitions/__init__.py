"""What people define, in YAML. A definition is addressed by `kind/id`.

Conditions are CEL; workflows/conditions.py compiles them.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter

from schemas.definitions.automation import Rule, Segment, Workflow
from schemas.definitions.consent import Compliance, ConsentType
from schemas.definitions.identity import IdentificationPoint, IdentityGuards, Namespace, TraitDefinition
from schemas.definitions.inbound import EventTypeDefinition, Reshaping, Source
from schemas.definitions.outbound import Destination

AnyDefinition = Annotated[
    Source
    | EventTypeDefinition
    | Reshaping
    | ConsentType
    | Compliance
    | Namespace
    | IdentificationPoint
    | IdentityGuards
    | TraitDefinition
    | Rule
    | Workflow
    | Segment
    | Destination,
    Field(discriminator="kind"),
]
DEFINITION: TypeAdapter[AnyDefinition] = TypeAdapter(AnyDefinition)
