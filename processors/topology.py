"""The pipeline, in the order the data travels. Start reading here."""

from processors.runner.stage import Gather, Stage
from processors.steps.archive import archive
from processors.steps.bridge import bridge
from processors.steps.deliver import deliver
from processors.steps.dispatch import dispatch
from processors.steps.identify import identify
from processors.steps.merge import merge
from processors.steps.persist import persist
from processors.steps.record_failures import record_failures
from processors.steps.route import route
from processors.steps.run_workflows import run_workflows
from processors.steps.segment import segment
from processors.steps.validate import validate
from schemas.definitions.inbound import KafkaBridge
from schemas.topics import (
    DEAD_LETTERS,
    EVENTS_ACCEPTED,
    EVENTS_IDENTIFIED,
    EVENTS_REJECTED,
    EVENTS_VALID,
    MERGE_JOBS,
    PROFILE_CHANGES,
    SEGMENTATION_JOBS,
    TRACKS,
    WORKFLOW_RUNS,
    destination_topic,
    foreign_topic,
)

PIPELINE: tuple[Stage, ...] = (
    Stage("validate", (TRACKS,), validate, (EVENTS_VALID, EVENTS_REJECTED), fetch_every_s=0.05),
    Stage("identify", (EVENTS_VALID,), identify, (EVENTS_IDENTIFIED, MERGE_JOBS, SEGMENTATION_JOBS, TRACKS)),
    Stage("persist", (EVENTS_IDENTIFIED,), persist, (EVENTS_ACCEPTED,)),
    # Writes the topic of each destination that wants events, too.
    Stage("route", (EVENTS_ACCEPTED,), route, (WORKFLOW_RUNS,)),
    Stage("run-workflows", (WORKFLOW_RUNS,), run_workflows, (SEGMENTATION_JOBS, MERGE_JOBS, TRACKS)),
    Stage("merge", (MERGE_JOBS,), merge, (SEGMENTATION_JOBS,)),
    Stage("segment", (SEGMENTATION_JOBS,), segment, (PROFILE_CHANGES,)),
    # Writes the topic of each destination that is defined, too.
    Stage("deliver", (PROFILE_CHANGES,), deliver, (TRACKS,)),
    Stage("archive", (TRACKS,), archive, outside=True, gather=Gather(bytes=16_000_000, seconds=10)),
    Stage("record-failures", (EVENTS_REJECTED, DEAD_LETTERS), record_failures),
)


def bridge_from(definition: KafkaBridge) -> Stage:
    """The stage that reads one topic of others."""
    return Stage(f"bridge-{definition.id}", (foreign_topic(definition.topic),), bridge, (TRACKS,))


def dispatch_to(destination: str) -> Stage:
    """The stage that calls one destination: a topic, a consumer group and a process of its own."""
    return Stage(f"dispatch-{destination}", (destination_topic(destination),), dispatch, outside=True, max_records=500)
