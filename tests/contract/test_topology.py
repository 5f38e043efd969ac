"""The map and the catalogue agree: with each other, with the modules, and with what the composition root builds."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.settings import Settings
from deploy.toolbox import toolbox
from processors.connectors.guard import Guard, guarded_session
from processors.runner.stage import Stage
from processors.topology import PIPELINE, bridge_from, dispatch_to
from schemas.definitions.inbound import KafkaBridge
from schemas.topics import (
    CATALOGUE,
    CONFIG,
    DEAD_LETTERS,
    PROFILE_CHANGES,
    TOPIC_OF,
    TRACKS,
    destination_topic,
    foreign_topic,
    topic_of,
)
from tests.unit.making import definitions

BRIDGE = KafkaBridge(id="legacy", topic="orders", source="shop", event_type="order")
STAGES = (*PIPELINE, dispatch_to("hook"), bridge_from(BRIDGE))
#: One for each destination, and for each bridge.
BESIDE = {destination_topic("hook").name, foreign_topic("orders").name}
WRITTEN_BY_THE_DOOR = {TRACKS.name}
#: Any stage's runner writes dead letters; `headwater apply` writes config, and every process reads it.
WRITTEN_BY_THE_RUNNER = {DEAD_LETTERS.name}
NOT_BETWEEN_STAGES = {CONFIG.name}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_reads_and_writes_topics_of_the_catalogue(stage: Stage):
    assert stage.reads
    for topic in (*stage.reads, *stage.writes):
        assert topic in CATALOGUE or topic.name in BESIDE


def test_names_are_unique():
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    assert len({topic.name for topic in CATALOGUE}) == len(CATALOGUE)
    assert len({id(stage.step) for stage in STAGES}) == len(STAGES)


def test_every_topic_between_stages_is_written_and_read():
    read = {topic.name for stage in PIPELINE for topic in stage.reads}
    written = {topic.name for stage in PIPELINE for topic in stage.writes}
    between = {topic.name for topic in CATALOGUE} - NOT_BETWEEN_STAGES
    assert read == between
    assert written | WRITTEN_BY_THE_DOOR | WRITTEN_BY_THE_RUNNER == between


def test_profile_changes_have_one_writer_and_it_is_fenced():
    assert [stage.name for stage in PIPELINE if PROFILE_CHANGES in stage.writes] == ["segment"]
    assert [topic.name for topic in CATALOGUE if topic.fenced] == [PROFILE_CHANGES.name]


def test_no_stage_of_the_main_way_reads_what_only_a_later_one_writes():
    """The pipeline is listed in the order the data travels; only emitted events go back to the start."""
    written = {TRACKS.name, DEAD_LETTERS.name}
    for stage in PIPELINE:
        assert {topic.name for topic in stage.reads} <= written, stage.name
        written |= {topic.name for topic in stage.writes}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_stage_module_and_function_have_one_name(stage: Stage):
    beside = next((kind for kind in ("dispatch", "bridge") if stage.name.startswith(f"{kind}-")), None)
    name = beside or stage.name.replace("-", "_")
    assert stage.step.__module__ == f"processors.steps.{name}"
    assert stage.step.__name__ == name


def test_every_step_is_on_the_map():
    folder = Path(inspect.getfile(Stage)).parents[1] / "steps"
    assert {path.stem for path in folder.glob("[!_]*.py")} == {stage.step.__name__ for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
async def test_every_tool_that_a_step_asks_for_is_provided(stage: Stage, tmp_path: Path):
    hook = {"kind": "destination", "id": "hook", "type": "webhook", "url": "https://hook.example"}
    feed = SimpleNamespace(get=lambda: definitions(hook))
    settings = Settings(data=tmp_path, identity_key="x" * 32)
    async with guarded_session(Guard()) as client:
        tools = toolbox(stage, feed, settings, client, Guard())
        # The runner adds the partition. Raises KeyError for what is missing.
        stage.bind({**tools(None if stage.outside else object()), "partition": 0})


def test_every_model_goes_to_one_topic_and_no_other_model_anywhere():
    for topic in CATALOGUE:
        for model in topic.models:
            assert TOPIC_OF[model] is topic
    with pytest.raises(KeyError):
        topic_of(object())
    with pytest.raises(KeyError):
        topic_of({"profile": "p"})


def test_stages_beside_the_pipeline_read_the_same_topics_whenever_they_are_made() -> None:
    """`headwater up` starts their processes anew where that changes."""
    other = BRIDGE.model_copy(update={"topic": "other"})
    assert dispatch_to("hook").reads == dispatch_to("hook").reads != dispatch_to("crm").reads
    assert bridge_from(BRIDGE).reads == bridge_from(BRIDGE).reads != bridge_from(other).reads
