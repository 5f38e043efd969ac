"""Private traits stay inside: what a workflow sends must not hold them, unless its destination may have them. Pure."""

from collections.abc import Iterator

from workflows.actions.outside import SendConfig
from workflows.definitions import Definitions
from workflows.needs import needs_of


def private_sent(definitions: Definitions) -> Iterator[str]:
    """Private traits that nodes send to destinations that do not ask for them, one sentence each."""
    for id, graph in definitions.workflows.items():
        for step in graph.steps:
            if not isinstance(step.config, SendConfig):
                continue
            destination = definitions.destinations.get(step.config.destination)
            if destination is None or destination.private:
                continue
            for expression in step.config.properties.values():
                for trait in _traits_in(expression.source, definitions.private_traits):
                    yield (
                        f"workflow/{id}: node {step.name}: the trait {trait!r} is private, and "
                        f"destination/{destination.id} does not ask for private traits"
                    )


def _traits_in(expression: str, private: set[str]) -> list[str]:
    """Those that the expression may look at; all where that cannot be told."""
    if "profile" not in expression:
        return []
    profile = needs_of(expression, ["profile"])["profile"]
    traits = profile.get("traits", {}) if profile is not None else None
    return sorted(private if traits is None else private & traits.keys())
