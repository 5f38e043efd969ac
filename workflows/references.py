"""What definitions refer to, and what of it is not there."""

from collections.abc import Mapping

from schemas.definitions import AnyDefinition
from schemas.definitions.automation import ProfileMapping, Rule, Segment, Workflow
from schemas.definitions.consent import Compliance
from schemas.definitions.identity import IdentificationPoint
from schemas.definitions.inbound import KafkaBridge, Redirect, Reshaping, Source
from schemas.definitions.measuring import Alert, Metric
from schemas.definitions.outbound import Destination

_OF_A_SOURCE = (
    *(Rule, ProfileMapping, IdentificationPoint, Reshaping, Compliance, Segment, Destination, Metric, Alert),
    *(Redirect, KafkaBridge),
)


def dangling(definitions: Mapping[str, AnyDefinition]) -> list[str]:
    """What definitions refer to that does not exist, one sentence each."""
    missing = []
    for definition in definitions.values():
        source = definition.source if isinstance(definition, _OF_A_SOURCE) else None
        if source is not None and f"source/{source}" not in definitions:
            missing.append(f"{definition.key}: there is no source {source!r}")
        for consent in _consents_in(definition):
            if f"consent/{consent}" not in definitions:
                missing.append(f"{definition.key}: there is no consent {consent!r}")
        match definition:
            case Rule(workflows=workflows):
                missing += [
                    f"{definition.key}: there is no workflow {name!r}"
                    for name in workflows
                    if f"workflow/{name}" not in definitions
                ]
            case Alert(metric=metric) if f"metric/{metric}" not in definitions:
                missing.append(f"{definition.key}: there is no metric {metric!r}")
            case Destination():
                missing += [
                    f"{definition.key}: there is no resource {name!r} of the type {type}"
                    for name, type in _resources_of(definition)
                    if getattr(definitions.get(f"resource/{name}"), "type", None) != type
                ]
            case Workflow(nodes=nodes):
                for name, node in nodes.items():
                    for kind in ("segment", "destination", "resource", "consent"):
                        target = node.config.get(kind)
                        if isinstance(target, str) and f"{kind}/{target}" not in definitions:
                            missing.append(f"{definition.key}: node {name}: there is no {kind} {target!r}")
    return missing


def _resources_of(destination: Destination) -> list[tuple[str, str]]:
    """Their names, and the type that each must have."""
    table, topic = destination.table, destination.topic
    avro = topic.avro if topic is not None else None
    named = [
        (table.resource if table is not None else None, "postgresql"),
        (topic.resource if topic is not None else None, "kafka"),
        (avro.registry if avro is not None else None, "http"),
    ]
    return [(name, type) for name, type in named if name is not None]


def _consents_in(definition: AnyDefinition) -> list[str]:
    match definition:
        case Source(requires_consent=consents) | Destination(consents=consents) | Rule(consents=consents):
            return list(consents)
        case Compliance(protected=protected):
            return [consent for one in protected for consent in one.consents]
        case _:
            return []
