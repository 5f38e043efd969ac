"""Workflow runs of five nodes a second, and deliveries to a webhook a second, each by one worker from a full topic."""

from typing import NamedTuple

from tests.bench.rig import Rig
from tests.bench.stages import StageFigure, fill_tracks, run_stage
from tests.bench.web import Web

FIVE_NODES = """
kind: source
id: web
client_profile_ids: true
---
{kind: rule, id: all, event_type: "*", workflows: [five]}
---
kind: workflow
id: five
nodes:
  start: {action: start, then: [keep]}
  keep: {action: set-data, config: {values: {dear: event.properties.product.price > 50.0}}, then: [which]}
  which: {action: condition, config: {if: data.dear}, then: {"true": [much], "false": [little]}}
  much: {action: update-profile, config: {increment: {much: "1"}, set: {last: event.type}}, then: [end]}
  little: {action: update-profile, config: {increment: {little: "1"}, set: {last: event.type}}, then: [end]}
  end: {action: segment, config: {segment: seen}}
---
{kind: segment, id: seen}
---
{kind: destination, id: hook, type: webhook, url: URL, events: ["*"]}
---
{kind: destination, id: batches, type: webhook, url: URL, events: ["*"], batch: 100}
"""


class Automation(NamedTuple):
    """`runs`: of workflows of five nodes. `dispatch`: a delivery a request; `batches`: a hundred a request."""

    runs: StageFigure | None
    dispatch: StageFigure | None
    batches: StageFigure | None


def measure(rig: Rig, events: int, seed: int) -> Automation:
    """Fill `tracks`, and run what is measured behind the stages before it."""
    fill_tracks(rig, Web(seed), events)
    for stage in ("validate", "identify", "persist", "route"):
        run_stage(rig, stage)
    return Automation(
        runs=run_stage(rig, "run-workflows"),
        dispatch=run_stage(rig, "dispatch-hook"),
        batches=run_stage(rig, "dispatch-batches"),
    )
