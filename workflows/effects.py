"""What a workflow run leads to beside its profile: ids of effects, jobs, and the payload of an event that it makes."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec

from schemas.events import WorkflowRun
from schemas.origin import derived_id
from schemas.profiles import MergeJob, SegmentationJob
from workflows.engine import Ran
from workflows.identification import IdentifierKey


def merge_job(event: WorkflowRun, profile: str, key: IdentifierKey) -> MergeJob:
    """Whoever has this identifier is this profile's person, a workflow says."""
    return MergeJob(
        profiles=[profile], cause="workflow", namespace=key[0], value=key[1], event=event.id, quiet=event.quiet
    )


def effect_id(event: WorkflowRun, ran: Ran, node: str, number: int) -> str:
    """The id of a node's effect: the same however often the run is done, and whatever came before."""
    return derived_id("effect", event.source, event.id, ran.workflow, node, number)


def add_changed(job: SegmentationJob, names: Collection[str]) -> None:
    """What has changed of the job's profile, too."""
    for name in names:
        if name not in job.changed:  # most events of a profile change the same
            job.changed = sorted({*job.changed, *names})
            return


def payload(event: WorkflowRun, id: str, type: str, properties: dict[str, Any], at: datetime) -> msgspec.Raw:
    """An event of the same source, session and profile, as a client would send it."""
    body: dict[str, Any] = {"source": {"id": event.source}}
    if event.session:
        body["session"] = {"id": event.session}
    if event.profile:
        body["profile"] = {"id": event.profile}
    else:
        body["profile_less"] = True
    sent = {"id": id, "type": type, "timestamp": at, "properties": properties}
    body["events"] = [sent]
    body["options"] = {"saveEvents": event.save}
    return msgspec.Raw(msgspec.json.encode(body))
