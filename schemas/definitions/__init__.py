"""What people define, in YAML. A definition is addressed by `kind/id`.

Conditions are CEL; workflows/conditions.py compiles them.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter

from schemas.definitions.automation import ProfileMapping, Rule, Segment, Window, Workflow
from schemas.definitions.consent import Compliance, ConsentType
from schemas.definitions.identity import IdentificationPoint, IdentityGuards, Namespace, TraitDefinition
from schemas.definitions.inbound import EventTypeDefinition, KafkaBridge, Redirect, Reshaping, Source, WriteKey
from schemas.definitions.measuring import Alert, Metric
from schemas.definitions.outbound import Destination, Pause, Resource
from schemas.definitions.predefined import Predefined

AnyDefinition = Annotated[
    Source
    | WriteKey
    | Redirect
    | KafkaBridge
    | EventTypeDefinition
    | Reshaping
    | ConsentType
    | Compliance
    | Namespace
    | IdentificationPoint
    | IdentityGuards
    | TraitDefinition
    | ProfileMapping
    | Rule
    | Workflow
    | Window
    | Segment
    | Resource
    | Destination
    | Pause
    | Metric
    | Alert,
    Field(discriminator="kind"),
]
DEFINITION: TypeAdapter[AnyDefinition] = TypeAdapter(AnyDefinition)
#: What may stand in a folder's files: a group of predefined ones too, which becomes what it stands for when it is read.
WRITTEN: TypeAdapter[AnyDefinition | Predefined] = TypeAdapter(
    Annotated[AnyDefinition | Predefined, Field(discriminator="kind")]
)
