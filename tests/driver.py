"""Runs the topology step by step in memory: the real stages, steps and codecs over lists and dictionaries.

It proves logic, no promise. There is one partition, one worker, no crash and no PostgreSQL here; what the pipeline
promises about those is tested on the real ones.
"""

import asyncio
import random
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from processors.runner.attempt import Attempt
from processors.runner.stage import Stage
from processors.storage.parked import told
from processors.topology import PIPELINE
from schemas.codecs import Message
from schemas.events import Answer, Record, Resumption, WorkflowRun
from schemas.profiles import SegmentationJob
from schemas.topics import DEAD_LETTERS, SEGMENTATION_JOBS, TRACKS, WORKFLOW_RUNS, Topic
from tests.memory import TOOLS, Memory, ParkedRuns
from workflows.definitions import Definitions
from workflows.identity import ProfileIds
from workflows.replays import Replays

#: When the first record arrives; each record of `tracks` comes a second after the one before.
START = datetime(2026, 1, 1, tzinfo=UTC)
_INPUTS = [(stage, topic) for stage in PIPELINE for topic in stage.reads]


#: In the place of a database of addresses.
PLACES = {"203.0.113.77": {"country": "NO", "city": "Oslo"}}


class Driver:
    """A pipeline in memory. `logs` are the topics, oldest record first; `memory` is what was stored."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.memory = Memory()
        self.logs: dict[str, list[Record]] = {}
        self.profile_ids = ProfileIds(b"the key of the driver's ids")
        self.replays = Replays(b"the key of the driver's ids")
        #: The time that stages take it to be.
        self.now = datetime.now(UTC)
        #: Tools that take the place of the usual ones.
        self.instead: dict[str, Any] = {}
        self._positions: dict[tuple[str, str], int] = {}

    def send(self, payload: Any, key: str | None = None, headers: Mapping[str, str | None] | None = None) -> int:
        """Write a payload (bytes, None, or what becomes JSON) to `tracks` as a producer would; its offset."""
        body = payload if isinstance(payload, bytes | None) else msgspec.json.encode(payload)
        coded = [(name, None if value is None else value.encode()) for name, value in (headers or {}).items()]
        return self._append(Message(TRACKS.name, key.encode() if key else None, body, coded))

    async def run(self, order: random.Random | None = None, without: Collection[str] = ()) -> None:
        """Run all stages until nothing is left to read: in the data's order, or in any order and in small batches.

        Stages `without` which it shall go stand still meanwhile.
        """
        while ready := [
            (stage, topic) for stage, topic in _INPUTS if stage.name not in without and self.waiting(stage, topic)
        ]:
            if order is None:
                await self.step(*ready[0])
            else:
                await self.step(*order.choice(ready), order.randint(1, 40))

    async def tick(self) -> None:
        """What the ticker does: jobs for whoever is due by now."""
        for profile, due in list(self.memory.timers.items()):
            at = due if isinstance(due, datetime) else datetime(due.year, due.month, due.day, tzinfo=UTC)
            if at <= self.now:
                del self.memory.timers[profile]
                job = SegmentationJob(profile=profile, changed=["segments"], silent=True)
                self._append(SEGMENTATION_JOBS.encode(job))
        for run in ParkedRuns(self.memory).take_due(self.now):
            self._append(WORKFLOW_RUNS.encode(run))

    def answer(self, node: str, answer: Answer) -> None:
        """What the outside says to the call of a node, of all runs that wait there."""
        for (origin, workflow), asking, _ in list(self.memory.calls.values()):
            if asking == node:
                (event, *_) = self.memory.parked[origin, workflow]
                told_so = told(
                    msgspec.json.decode(event, type=WorkflowRun), Resumption(workflow, self.now, {node: answer})
                )
                self._append(WORKFLOW_RUNS.encode(told_so))

    def waiting(self, stage: Stage, topic: Topic) -> list[Record]:
        """What the stage has not read yet."""
        return self.logs.get(topic.name, [])[self._positions.get((stage.name, topic.name), 0) :]

    async def step(self, stage: Stage, topic: Topic, limit: int | None = None) -> None:
        """One batch of one stage."""
        records = self.waiting(stage, topic)[: limit or stage.max_records]
        attempt = Attempt(stage, topic, lambda connection: self._tools())
        if stage.outside:
            outcome = await attempt.run_outside(records)
        else:
            outcome = await attempt.run(self.memory, records, self.memory.begin())
        declared = {each.name for each in stage.writes} | {DEAD_LETTERS.name}
        for message in outcome.messages:
            assert message.topic in declared or (
                stage.name in ("route", "deliver") and message.topic.startswith("destination-")
            )
            self._append(message)
        self._positions[stage.name, topic.name] = self._positions.get((stage.name, topic.name), 0) + len(records)

    def repeat(self, topic: Topic, some: random.Random) -> None:
        """Write about half of what the topic holds to it once more, in order, as a woken worker may at any time."""
        for record in list(self.logs.get(topic.name, [])):
            if some.random() < 0.5:
                self._append(Message(topic.name, record.key, record.value, list(record.headers)))

    def read(self, topic: Topic) -> list[Any]:
        """Everything in a topic, decoded."""
        return [topic.codec.decode(record) for record in self.logs.get(topic.name, [])]

    def _tools(self) -> dict[str, Any]:
        tools = {name: tool(self.memory) for name, tool in TOOLS.items()}
        return {
            **tools,
            "definitions": self.definitions,
            "profile_ids": self.profile_ids,
            "replays": self.replays,
            "now": lambda: self.now,
            "turn": asyncio.Lock(),
            "locate": lambda address: PLACES.get(address, {}),
            **self.instead,
        }

    def _append(self, message: Message) -> int:
        log = self.logs.setdefault(message.topic, [])
        milliseconds = int(START.timestamp() + len(log)) * 1000
        log.append(Record(message.topic, 0, len(log), milliseconds, message.key, message.value, tuple(message.headers)))
        return len(log) - 1
