"""The stages of an installation: those of the pipeline, and those that its definitions ask for."""

from collections.abc import Iterable, Mapping

from processors.runner.stage import Stage
from processors.topology import PIPELINE, bridge_from, dispatch_to
from schemas.definitions.inbound import KafkaBridge
from schemas.definitions.outbound import Destination
from workflows.definitions import Definitions

#: Before the name of a destination: the stage that calls it. Before a bridge's: the one that reads its topic.
DISPATCH, BRIDGE = "dispatch-", "bridge-"


def stages_beside(definitions: Definitions) -> dict[str, Stage]:
    """The stages beside the pipeline: one for each destination that is called, and for each bridge."""
    return stages_of([*definitions.destinations.values(), *definitions.bridges.values()])


def stages_of(definitions: Iterable[Destination | KafkaBridge]) -> dict[str, Stage]:
    """The stages of these, by name."""
    stages = [
        bridge_from(one) if isinstance(one, KafkaBridge) else dispatch_to(one.id)
        for one in definitions
        if one.enabled and (isinstance(one, KafkaBridge) or one.is_dispatched)
    ]
    return {stage.name: stage for stage in sorted(stages, key=lambda stage: stage.name)}


def topics_of(stages: Iterable[Stage]) -> dict[str, list[str]]:
    """Each stage, and the topics that it reads."""
    return {stage.name: [topic.name for topic in stage.reads] for stage in stages}


def find_stage(name: str, definitions: Definitions) -> Stage:
    """The stage of that name. Raises LookupError. A destination that is off has one, too: its dispatcher runs, and lets
    what is there wait."""
    dispatchers = [dispatch_to(one.id) for one in definitions.destinations.values() if one.is_dispatched]
    stages: Mapping[str, Stage] = {one.name: one for one in (*PIPELINE, *dispatchers)} | stages_beside(definitions)
    if name not in stages:
        raise LookupError(f"there is no stage {name!r} (there are: {', '.join(stages)})")
    return stages[name]
