"""A lane: one partition of one stage, strictly in order, on a PostgreSQL connection of its own.

The protocol was model-checked; each step below is there because without it a record can be lost, repeated or overtaken.
For one batch: lock the lane's row, deliver what is not known to be delivered, drop what is done, run the step, store
position and outputs, commit, publish, acknowledge.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import psycopg
from psycopg.errors import IdleInTransactionSessionTimeout
from psycopg.pq import TransactionStatus

from processors.runner.attempt import Attempt, RunStep, StepOutcome
from processors.runner.continuity import require_not_back, require_not_cut, require_not_gone, require_same_topic
from processors.runner.dead_letter_watch import DeadLetterWatch
from processors.runner.fail_points import Reach, nowhere
from processors.runner.failures import TooSlow, Unavailable, unavailable_cause
from processors.runner.partition import Log, ReadBatch, halves
from processors.runner.publisher import Publishes
from processors.runner.stage import Stage
from processors.storage.database import Connect, Connection, cut, end_frozen
from processors.storage.progress import LaneHealth, LaneKey, Progress, ProgressRow
from schemas.codecs import Message

log = logging.getLogger("headwater.lane")

MAX_BACKOFF_S = 5.0
#: How often a record alone may take too long before it is a dead letter: its process may have been frozen.
SLOW_TRIES = 3
#: PostgreSQL keeps the plans of prepared statements as they were made, by how large tables were then, until it analyses
#: them anew. A new installation grows faster than that: it would read whole tables for each batch for a minute.
PLANS_AGE_S = 10.0
#: How long a lane that ends may ask PostgreSQL for something: others wait for its partition.
CLOSE_S = 1.0


class Lane:
    """Processes batches one after another; see the module's docstring."""

    def __init__(
        self,
        key: LaneKey,
        stage: Stage,
        kafka: Log,
        connect: Connect,
        publisher: Publishes,
        attempt: Attempt,
        slots: asyncio.Semaphore | None = None,
        holes: bool = False,
        reach: Reach = nowhere,
        health: LaneHealth | None = None,
    ) -> None:
        """`slots` bounds how many lanes work at a time. `holes`: offsets may be missing (a topic written in
        transactions, whose markers take offsets)."""
        self._slots, self._holes, self._reach = slots or asyncio.Semaphore(), holes, reach
        self.key, self._stage, self._log = key, stage, kafka
        self.health = health or LaneHealth()
        self._connect, self._publisher, self._attempt = connect, publisher, attempt
        self._connection: Connection | None = None
        #: The row's next_offset when its outputs were last known to be delivered; None: not known.
        self._delivered: int | None = None
        #: Of the topic that it was opened on.
        self._topic_id = ""
        self._seen_hole: int | None = None
        self._planned_at = 0.0
        self._letters = DeadLetterWatch()

    async def recover(self) -> None:
        """Deliver what the lane's last life may have left undelivered, before anything new comes. Raises as process."""
        await self._persistently(self._recover_once)

    async def process(self, batch: ReadBatch) -> None:
        """Do the batch, however often and in however small portions it takes. Raises LaneStopped, Fenced, and what is
        neither outage nor data."""
        for _ in range(SLOW_TRIES):
            try:
                return await self._persistently(lambda: self._process_once(batch, self._attempt.run))
            except TooSlow:
                log.warning("%s: %d records took longer than a transaction may", self.key, len(batch.records))
                if len(batch.records) > 1:
                    for half in halves(batch):
                        await self.process(half)
                    return
        await self._persistently(lambda: self._process_once(batch, self._attempt.give_up))

    async def _persistently(self, attempt: Callable[[], Awaitable[None]]) -> None:
        tries = 0
        while True:
            try:
                async with self._slots:  # not while waiting: a lane that retries blocks no other
                    return await attempt()
            except Exception as error:
                cause = unavailable_cause(error)
                # A lane that ends must not hold its row: whoever comes next would wait for it.
                if not (isinstance(error, Unavailable) and await self._is_let_go()):
                    await self._forget_connection()
                if cause is None:
                    raise
                tries += 1
                self.health.retries[cause] += 1
                delay = min(MAX_BACKOFF_S, 0.1 * 2 ** min(tries, 6)) * random.uniform(0.5, 1)
                why = f" ({error.why})" if isinstance(error, Unavailable) and error.why else ""
                log.warning("%s: %s unavailable%s, try %d follows in %.1f s", self.key, cause, why, tries + 1, delay)
                await asyncio.sleep(delay)

    @property
    def connection(self) -> Connection | None:
        """The lane's own, for what it does together with others; None where it must be opened first."""
        return self._connection

    async def follows(self, batch: ReadBatch, row: ProgressRow | None) -> bool:
        """Whether the batch is next, with nothing to deliver, to drop or to ask for before it. Raises as process."""
        if row is None or (row.next_offset, row.topic_id) != (self._delivered, batch.topic_id):
            return False
        first = int(batch.records[0].offset)
        if batch.start == row.next_offset < first and self._holes:
            require_not_gone(row.next_offset, await self._log.beginning())
            return True
        return batch.start == row.next_offset == first

    def committed(self) -> None:
        """What comes of the batch is not known to be delivered yet."""
        self._delivered = None

    async def deliver(self, messages: Sequence[Message], end: int) -> None:
        """What came of a batch that ends there and is committed. Raises what its publisher does."""
        self._reach("before-produce")
        await self._publish(messages, end)
        self._reach("after-produce")

    def delivered(self, batch: ReadBatch) -> None:
        """All of it is done, well, and what came of it delivered. Raises LaneStopped."""
        self._delivered = batch.end
        self._log.stored(batch.end)
        self._letters.add(len(batch.records), 0)

    async def renew_plans(self, connection: Connection) -> None:
        """Now and then; see PLANS_AGE_S."""
        if time.monotonic() - self._planned_at > PLANS_AGE_S:
            self._planned_at = time.monotonic()
            await connection.execute("discard plans")

    async def let_go(self) -> None:
        """Hold no row: roll back, or drop the connection where it is in doubt."""
        at_rest = self._connection is not None and self._connection.info.transaction_status == TransactionStatus.IDLE
        if not at_rest and not await self._is_let_go():
            await self._forget_connection()

    async def idle(self) -> None:
        """Nothing has come for a while: what is delivered need not be kept, it may be of somebody who is erased."""
        await self._persistently(self._forget_outbox)

    async def _forget_outbox(self) -> None:
        if self._connection is not None and self._delivered is not None:
            await Progress(self._connection, self.key).forget_outbox(self._topic_id, self._delivered)
            await self._connection.commit()

    async def close(self) -> None:
        """Let go of the connection and the publisher; whatever was not committed never happened. What is known to be
        delivered is forgotten, so that whoever has the lane next does not deliver it again."""
        try:
            await self._leave()
        finally:
            await self._forget_connection()
            await self._publisher.release()

    async def _leave(self) -> None:
        leaving = asyncio.create_task(self._forget_once())
        await asyncio.wait({leaving}, timeout=CLOSE_S)
        if not leaving.done() and self._connection is not None:
            cut(self._connection)
        with contextlib.suppress(psycopg.Error):  # then it is delivered again
            await leaving

    async def _forget_once(self) -> None:
        if await self._is_let_go():
            await self._forget_outbox()

    async def _recover_once(self) -> None:
        connection = await self._open()
        row = await self._lock_delivered(Progress(connection, self.key), connection)
        await connection.rollback()
        self._log.stored(row.next_offset)

    async def _process_once(self, batch: ReadBatch, run: RunStep) -> None:
        connection = await self._open()
        progress = Progress(connection, self.key)
        self._reach("before-lock")
        row = await self._lock_delivered(progress, connection)
        self._reach("after-lock")
        await self.renew_plans(connection)
        require_same_topic(row, batch.topic_id)
        if batch.start > row.next_offset:
            await connection.rollback()
            return self._log.seek(row.next_offset)
        records = [record for record in batch.records if record.offset >= row.next_offset]
        self.health.redelivered += len(batch.records) - len(records)
        if records and records[0].offset > row.next_offset:
            require_not_gone(row.next_offset, await self._log.beginning())
            if not self._holes and self._seen_hole != row.next_offset:
                # Not trusted before it was seen twice: the second time in what is read from exactly there.
                self._seen_hole = row.next_offset
                await connection.rollback()
                return self._log.seek(row.next_offset)
        outcome: StepOutcome | None = None
        if not records:
            await connection.rollback()
            require_not_cut(row, await self._log.end())
        elif self._stage.outside:
            await connection.rollback()  # effects may take long
            outcome = await self._run_outside(progress, connection, row, records, batch.end)
        else:
            try:
                outcome = await run(connection, records, partial(self._start_over, progress, connection, row))
                await self._finish(progress, connection, outcome, batch.end)
            except IdleInTransactionSessionTimeout as error:
                raise TooSlow from error
        self._log.stored(max(batch.end, row.next_offset))
        if outcome is not None:
            self._letters.add(outcome.records, outcome.dead_letters)

    async def _run_outside(
        self, progress: Progress, connection: Connection, row: ProgressRow, records: Sequence[Any], end: int
    ) -> StepOutcome:
        """Effects first, then the position: they happen at least once, under ids that stay the same."""
        outcome = await self._attempt.run_outside(records)
        await self._start_over(progress, connection, row)
        await self._finish(progress, connection, outcome, end)
        return outcome

    async def _start_over(self, progress: Progress, connection: Connection, row: ProgressRow) -> None:
        """Another transaction, with the lane where it was. Raises Unavailable where somebody else moved it."""
        await connection.rollback()
        now = await self._lock_delivered(progress, connection)
        if now.next_offset != row.next_offset:
            await connection.rollback()
            raise Unavailable("lane taken over")

    async def _finish(self, progress: Progress, connection: Connection, outcome: StepOutcome, end: int) -> None:
        self._reach("before-checkpoint")
        await progress.store(end, outcome.messages)
        self._reach("after-checkpoint")
        self._reach("before-commit")
        await connection.commit()
        self._reach("after-commit")
        await self.deliver(outcome.messages, end)

    async def _lock_delivered(self, progress: Progress, connection: Connection) -> ProgressRow:
        """The lane's row, locked, its outputs known to be delivered. No batch commits over an undelivered outbox."""
        while True:
            row = await progress.lock()
            if row.next_offset == self._delivered:
                return row
            repeated = await progress.outbox()
            await connection.rollback()
            self.health.redelivered += len(repeated)
            await self._publish(repeated, row.next_offset)

    async def _publish(self, messages: Sequence[Message], end: int) -> None:
        self._delivered = None
        await self._publisher.publish(messages)
        self._delivered = end

    async def _open(self) -> Connection:
        if self._connection is not None:
            return self._connection
        await self._publisher.open()
        connection = self._connection = await self._connect()
        await end_frozen(connection)
        self._topic_id, committed = await self._log.topic_id(), await self._log.committed()
        beginning, end = await self._log.beginning(), await self._log.end()
        row = await Progress(connection, self.key).create(self._topic_id, beginning)
        require_same_topic(row, self._topic_id)
        require_not_gone(row.next_offset, beginning)
        require_not_cut(row, end)
        require_not_back(row, committed)
        self.health.stopped = None
        return connection

    async def _is_let_go(self) -> bool:
        """Whether the row is let go, and all is as it was before the batch: where only the step has to wait, nothing
        needs to be asked and delivered anew."""
        if self._connection is None or self._delivered is None:
            return False
        try:
            await self._connection.rollback()
        except psycopg.Error:
            return False
        return True

    async def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        self._delivered = None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be broken already; nothing on it can still be wanted
                await connection.close()
