"""Every alert asks for metrics that exist, and says what to do."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric

from deploy.operations.metrics import UNKNOWN, PipelineCollector
from deploy.operations.status import Accounting, StageStatus, Status
from ingest.door import Door
from ingest.numbers import Numbers

RULES = Path(__file__).parents[2] / "deploy/alerts/headwater.rules.yaml"
STATUS = Status(
    stages=[
        StageStatus("identify", 7, 900, 1.5, 2, 9, 4.0, 30, 1, Counter({"postgresql": 5}), ["events-valid[0]: gone"]),
        StageStatus("persist", 0, 0, None, 0),
    ],
    sources=[
        Accounting("web", 100, 90, 4, 1, 3, 1, 1),
        Accounting("forged-1", 2, 0, 0, 0, 2),
        Accounting("forged-2", 3, 0, 0, 0, 3),
    ],
    profiles=12,
    events=90,
)


def collected() -> list[Metric]:
    return list(PipelineCollector(lambda: (STATUS, {"web"})).collect())


def values(name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for metric in collected()
        for sample in metric.samples
        if sample.name == name
    }


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    door = Door(None, lambda: None, lambda: True, None, Numbers())  # type: ignore[arg-type]
    existing = {sample.name for metric in collected() for sample in metric.samples}
    existing |= {f"{metric.name}_total" for metric in door.registry.collect() if metric.type == "counter"}
    asked = set(re.findall(r"headwater_\w+", rule["expr"]))
    assert asked
    assert asked <= existing
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


def test_what_a_lane_met_is_told_by_stage_and_cause() -> None:
    assert values("headwater_lag_records") == {("identify",): 7, ("persist",): 0}
    assert values("headwater_oldest_waiting_seconds") == {("identify",): 4, ("persist",): 0}
    assert values("headwater_dead_letters_total") == {("identify",): 9, ("persist",): 0}
    assert values("headwater_retries_total") == {("identify", "postgresql"): 5}
    assert values("headwater_lanes_stopped") == {("identify",): 1, ("persist",): 0}
    assert values("headwater_redelivered_records_total")["identify",] == 30


def test_whoever_sends_cannot_make_labels() -> None:
    events = values("headwater_events")
    assert {source for source, _ in events} == {"web", UNKNOWN}
    assert events[UNKNOWN, "accepted"] == 5


def test_the_accounting_comes_out_in_the_metrics_too() -> None:
    events = values("headwater_events")
    outcomes = ("recorded", "duplicates", "rejected", "dead_letters", "dropped", "under_way")
    for source in ("web", UNKNOWN):
        assert events[source, "accepted"] == sum(events[source, outcome] for outcome in outcomes)


def test_an_installation_that_cannot_be_asked_says_so() -> None:
    def failing() -> tuple[Status, set[str]]:
        raise TimeoutError

    (metric,) = PipelineCollector(failing).collect()
    assert [(sample.name, sample.value) for sample in metric.samples] == [("headwater_readable", 0)]
