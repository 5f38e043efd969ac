"""Small batches of several lanes as one: one transaction, one step, one delivery.

A batch costs what some 250 records cost, whatever is in it: four lanes with a few records each would pay that four
times. Only plain sailing is done together. Whatever else there is (something undelivered, records that are missing, a
dead letter, an error of any kind) each lane meets again as it does its batch by itself, under the protocol of `lane`.
Each lane's row keeps what came of all of them: whoever takes one over delivers it before anything new of that lane, so
first occurrences stay in order; of the others' it is a late repeat. Where outputs are fenced there must be no such
repeats, so each lane keeps and delivers its own, which the key says: what such a stage reads and writes has the same.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from processors.runner.attempt import Attempt
from processors.runner.fail_points import Reach
from processors.runner.failures import unavailable_cause
from processors.runner.lane import Lane
from processors.runner.pace import LARGE_RECORDS, Pace
from processors.runner.partition import ReadBatch
from processors.storage.progress import lock_lanes, store_lanes
from schemas.codecs import Message

log = logging.getLogger("headwater.together")

#: A batch of so many bytes, or of LARGE_RECORDS, gains nothing by company. Each row may keep the outputs of all: no
#: more than so many lanes go together.
LARGE_BYTES, MOST_LANES = 2**19, 4
#: How long each lane goes by itself after something went wrong, and is likely to again.
APART_S = 1.0
#: What waits for a lock of others longer goes by itself, and keeps nobody from work but its own lane.
LOCK_MS = 1000
#: So many turns of the event loop lie between two batches of one fetch, as Faust hands them on, at most.
HANDED_ON_WITHIN = 20


@dataclass(eq=False)
class _Asked:
    """A lane with a batch to be done; `is_done` once it is, together with others'. What it `owes` is committed, and
    its own to deliver, outside the slots: whoever is shut out, or slow, harms no other."""

    lane: Lane
    batch: ReadBatch
    is_done: bool = False
    owes: Sequence[Message] | None = None


@dataclass(frozen=True)
class _Share:
    """What each of these lanes keeps."""

    asked: Sequence[_Asked]
    messages: Sequence[Message]

    @property
    def ends(self) -> dict[int, int]:
        """By partition."""
        return {one.lane.key.partition: one.batch.end for one in self.asked}


class _Apart(Exception):
    """Each lane meets by itself what is odd here: which of its records are bad, or whose an output is."""


class Together:
    """The lanes of one topic in one worker."""

    def __init__(self, attempt: Attempt, fenced: bool, slots: asyncio.Semaphore, reach: Reach, pace: Pace) -> None:
        """`fenced`: whether each lane has a publisher of its own, which shuts out whoever had the lane before."""
        self._attempt, self._fenced, self._slots, self._reach = attempt, fenced, slots, reach
        self._pace = pace
        self._turn = asyncio.Lock()
        self._waiting: list[_Asked] = []
        self._apart_until = 0.0

    async def process(self, lane: Lane, batch: ReadBatch, size: int) -> None:
        """As Lane.process, together with what other lanes have to do; `size` in bytes."""
        if len(batch.records) >= LARGE_RECORDS or size >= LARGE_BYTES or monotonic() < self._apart_until:
            return await lane.process(batch)
        asked = _Asked(lane, batch)
        self._waiting.append(asked)
        try:
            async with self._turn:  # what comes while others are under way goes together next
                if asked in self._waiting:
                    await self._all_have_come()
                    await self._lead(asked)
        finally:
            if asked in self._waiting:
                self._waiting.remove(asked)
        if asked.owes is not None:
            asked.is_done = await _is_paid(asked)
        if not asked.is_done:
            return await lane.process(batch)
        lane.delivered(batch)

    async def _all_have_come(self) -> None:
        """One fetch brings the records of all lanes, which Faust hands on one after another."""
        known = 0
        while known < len(self._waiting):
            known = len(self._waiting)
            for _ in range(HANDED_ON_WITHIN):
                await asyncio.sleep(0)

    async def _lead(self, first: _Asked) -> None:
        self._waiting.remove(first)
        others, self._waiting = self._waiting[: MOST_LANES - 1], self._waiting[MOST_LANES - 1 :]
        if not others or first.lane.connection is None:
            return
        try:
            async with self._slots:
                await self._do(first.lane, [first, *others])
        except Exception as error:  # not lost: each lane does its batch by itself now, and meets whatever this was
            self._apart_until = monotonic() + APART_S
            if not isinstance(error, _Apart):
                log.info("%s: not together with others: %s", first.lane.key, type(error).__name__)
            await first.lane.let_go()

    async def _do(self, leader: Lane, asked: Sequence[_Asked]) -> None:
        """On the leader's connection: a lane that ends closes its own. Raises whatever goes wrong."""
        connection, key = leader.connection, leader.key
        assert connection is not None
        self._reach("before-lock")
        partitions = [one.lane.key.partition for one in asked]
        rows = await lock_lanes(connection, key.stage, key.topic, partitions, LOCK_MS)
        self._reach("after-lock")
        await leader.renew_plans(connection)
        plain = [one.lane.follows(one.batch, rows.get(one.lane.key.partition)) for one in asked]
        mine = [one for one, follows in zip(asked, await asyncio.gather(*plain), strict=True) if follows]
        if len(mine) < 2:
            return await connection.rollback()
        outcome = await self._attempt.run(connection, [r for one in mine for r in one.batch.records], _stop)
        if outcome.dead_letters:
            raise _Apart
        self._reach("before-checkpoint")
        shares = _by_key(mine, outcome.messages) if self._fenced else [_Share(mine, outcome.messages)]
        await store_lanes(connection, key.stage, key.topic, [(share.ends, share.messages) for share in shares])
        self._reach("after-checkpoint")
        self._reach("before-commit")
        await connection.commit()
        self._reach("after-commit")
        self._pace.joined(len(mine))
        for one in mine:
            one.lane.committed()
        if self._fenced:
            for share in shares:
                share.asked[0].owes = share.messages
            return
        await mine[0].lane.deliver(outcome.messages, mine[0].batch.end)
        for one in mine:
            one.is_done = True


async def _is_paid(asked: _Asked) -> bool:
    """Whether a lane could deliver what it owes; else it finds that in its row. Raises what is no outage."""
    try:
        await asked.lane.deliver(asked.owes or (), asked.batch.end)
    except Exception as error:
        if unavailable_cause(error) is None:
            raise
        return False
    return True


def _by_key(asked: Sequence[_Asked], messages: Sequence[Message]) -> list[_Share]:
    """To each lane what has a key of its records. Raises _Apart where that does not say whose something is."""
    own: list[list[Message]] = [[] for _ in asked]
    whose: dict[bytes | None, list[Message]] = {}
    for one, its in zip(asked, own, strict=True):
        for record in one.batch.records:
            if whose.setdefault(record.key, its) is not its:
                raise _Apart
    for message in messages:
        if message.key not in whose:
            raise _Apart
        whose[message.key].append(message)
    return [_Share([one], its) for one, its in zip(asked, own, strict=True)]


async def _stop() -> None:
    raise _Apart
