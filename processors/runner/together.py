"""Small batches of several lanes as one: one transaction, one step, one delivery.

A batch costs what some 250 records cost, whatever is in it: four lanes with a few records each would pay that four
times. Only plain sailing is done together. Whatever else there is (something undelivered, records that are missing, an
error of any kind) each lane meets again as it does its batch by itself, under the protocol of `lane`. Each lane's row
keeps what came of all of them: whoever takes one over delivers it before anything new of that lane, so first
occurrences stay in order; of the others' it is a late repeat.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from processors.runner.attempt import Attempt, StepOutcome
from processors.runner.fail_points import Reach
from processors.runner.lane import Lane
from processors.runner.pace import LARGE_RECORDS, Pace
from processors.runner.partition import ReadBatch
from processors.runner.publisher import Publishes
from processors.storage.progress import lock_lanes, store_lanes

#: A batch of so many records or bytes gains nothing by company. And what goes together at most.
LARGE_BYTES = 2**19
MOST_RECORDS, MOST_BYTES = 3 * LARGE_RECORDS, 4 * LARGE_BYTES
#: So many turns of the event loop lie between two batches of one fetch, as Faust hands them on, at most.
HANDED_ON_WITHIN = 20


@dataclass(eq=False)
class _Asked:
    """A lane with a batch to be done; `outcome` once it is, together with others'."""

    lane: Lane
    batch: ReadBatch
    bytes: int
    outcome: StepOutcome | None = None


class _Apart(Exception):
    """The step failed over the records of all: each lane finds out whose it was."""


class Together:
    """The lanes of one topic in one worker, which write with one publisher."""

    def __init__(self, attempt: Attempt, publisher: Publishes, slots: asyncio.Semaphore, reach: Reach, pace: Pace):
        self._attempt, self._publisher, self._slots, self._reach = attempt, publisher, slots, reach
        self._pace = pace
        self._turn = asyncio.Lock()
        self._waiting: list[_Asked] = []

    async def process(self, lane: Lane, batch: ReadBatch, size: int) -> None:
        """As Lane.process, together with what other lanes have to do; `size` in bytes."""
        if len(batch.records) >= LARGE_RECORDS or size >= LARGE_BYTES:
            return await lane.process(batch)
        asked = _Asked(lane, batch, size)
        self._waiting.append(asked)
        try:
            async with self._turn:  # what comes while others are under way goes together next
                if asked in self._waiting:
                    await self._all_have_come()
                    await self._lead(asked)
        finally:
            if asked in self._waiting:
                self._waiting.remove(asked)
        if asked.outcome is None:
            await lane.process(batch)
        else:
            lane.watch(asked.outcome)

    async def _all_have_come(self) -> None:
        """One fetch brings the records of all lanes, which Faust hands on one after another."""
        known = 0
        while known < len(self._waiting):
            known = len(self._waiting)
            for _ in range(HANDED_ON_WITHIN):
                await asyncio.sleep(0)

    async def _lead(self, first: _Asked) -> None:
        mine = self._taken(first)
        if len(mine) == 1 or first.lane.connection is None:
            return
        try:
            async with self._slots:
                await self._do(first.lane, mine)
        except Exception:  # not lost: each lane does its batch by itself now, and meets whatever this was
            await first.lane.let_go()

    def _taken(self, first: _Asked) -> list[_Asked]:
        self._waiting.remove(first)
        mine, records, size = [first], len(first.batch.records), first.bytes
        for other in list(self._waiting):
            records, size = records + len(other.batch.records), size + other.bytes
            if records > MOST_RECORDS or size > MOST_BYTES:
                break
            self._waiting.remove(other)
            mine.append(other)
        return mine

    async def _do(self, leader: Lane, asked: Sequence[_Asked]) -> None:
        """On the leader's connection: a lane that ends closes its own. Raises whatever goes wrong."""
        connection, key = leader.connection, leader.key
        assert connection is not None
        self._reach("before-lock")
        rows = await lock_lanes(connection, key.stage, key.topic, [one.lane.key.partition for one in asked])
        self._reach("after-lock")
        await leader.renew_plans(connection)
        mine = [
            one
            for one in asked
            if (row := rows.get(one.lane.key.partition)) is not None and await one.lane.follows(one.batch, row)
        ]
        if len(mine) < 2:
            return await connection.rollback()
        outcome = await self._attempt.run(connection, [r for one in mine for r in one.batch.records], _stop)
        self._reach("before-checkpoint")
        ends = {one.lane.key.partition: one.batch.end for one in mine}
        await store_lanes(connection, key.stage, key.topic, ends, outcome.messages)
        self._reach("after-checkpoint")
        self._reach("before-commit")
        await connection.commit()
        self._reach("after-commit")
        for one in mine:
            one.lane.committed()
        self._reach("before-produce")
        await self._publisher.publish(outcome.messages)
        self._reach("after-produce")
        for one in mine:
            one.lane.delivered(one.batch.end)
            one.outcome = outcome
        self._pace.joined(len(mine))


async def _stop() -> None:
    raise _Apart
