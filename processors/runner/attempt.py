"""Runs a step over a batch of records and finds, by halving, the records that can never succeed.

All of it happens in one transaction of the lane: one commit, one position, one outbox. Only where the whole batch has
failed it begins again, with a savepoint for each try.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from processors.runner.dead_letters import ReplayOf, dead_letter
from processors.runner.fail_points import Reach, nowhere
from processors.runner.failures import GAVE_UP, Poison, Unavailable, poison_of, unavailable_cause
from processors.runner.stage import Stage
from processors.storage.database import Connection
from schemas.codecs import JsonCodec, Message, Undecodable, attempt_of, revision_of
from schemas.events import ForeignRecord, Record, TrackedPayload
from schemas.failures import DeadLetter
from schemas.topics import DEAD_LETTERS, Topic, topic_of

#: The tools of a step, by name, working on this connection (None for steps whose effects lie outside). `definitions`
#: are always among them.
Toolbox = Callable[[Connection | None], Mapping[str, Any]]


#: A dead letter that was asked for is no sign of a mistake.
_BY_POLICY = ("dlq.reason", GAVE_UP.encode())
_headers = attrgetter("headers")

#: Rolls back, and begins another transaction at the same position.
StartOver = Callable[[], Awaitable[None]]

#: A step with everything around it: models in, messages out, all or nothing.
_TryStep = Callable[[list[Any]], Awaitable[list[Message]]]


class StepOutcome(msgspec.Struct):
    """What came of a batch."""

    messages: list[Message]
    records: int
    dead_letters: int


#: A record as it was read, and the model in it.
_Item = tuple[Any, Any]

#: Makes of records what comes of them, in the connection's transaction: `Attempt.run`, for one.
RunStep = Callable[[Connection, Sequence[Any], StartOver], Awaitable[StepOutcome]]


class Attempt:
    """A stage's step, as often and in as small portions as it takes."""

    def __init__(
        self,
        stage: Stage,
        topic: Topic,
        toolbox: Toolbox,
        reach: Reach = nowhere,
        first_partition: int = 0,
        replay_of: ReplayOf = lambda payload: None,
    ) -> None:
        """`first_partition` is what this topic's partitions are counted from in origins."""
        self._stage, self._topic, self._toolbox, self._reach = stage, topic, toolbox, reach
        self._first_partition, self._replay_of = first_partition, replay_of
        #: Most stages read JSON, of which only the bytes count: what else a record is matters where it fails.
        self._decode_all = topic.codec.decode_all if isinstance(topic.codec, JsonCodec) else None
        #: Whether each record says by which config revision an earlier stage judged it: it must be known here.
        self._says_revision = hasattr(topic.models[0], "revision")

    async def run(self, connection: Connection, records: Sequence[Any], start_over: StartOver) -> StepOutcome:
        """The step over these records, inside the connection's transaction. Raises what is not about the data.

        `start_over` rolls the transaction back and begins another at the same position; it may raise.
        """
        # Beside its tools a step may ask for its lane's partition, to keep what it counts apart from other lanes'.
        tools = {**self._toolbox(connection), "partition": records[0].partition}
        step = self._stage.bind(tools)

        async def plain(models: list[Any]) -> list[Message]:
            return encode(await step(models))

        async def under_savepoint(models: list[Any]) -> list[Message]:
            async with connection.transaction():
                return await plain(models)

        async def decide(items: list[_Item]) -> list[Message]:
            try:
                return await plain([model for _, model in items])
            except Exception as error:
                if unavailable_cause(error) is not None:
                    raise
                await start_over()
                return await self._apart(under_savepoint, items, error)

        return await self._run(decide, records, tools)

    async def give_up(self, connection: Connection, records: Sequence[Any], start_over: StartOver) -> StepOutcome:
        """These records as dead letters, without the step: it takes longer than a transaction may. As `run`."""

        async def decide(items: list[_Item]) -> list[Message]:
            return [self._dead_letter(*item, Poison("too_slow")) for item in items]

        return await self._run(decide, records, self._toolbox(connection))

    async def run_outside(self, records: Sequence[Any]) -> StepOutcome:
        """The step over these records, without a database."""
        tools = self._toolbox(None)
        step = self._stage.bind(tools)

        async def plain(models: list[Any]) -> list[Message]:
            return encode(await step(models))

        return await self._run(lambda items: self._halve(plain, items), records, tools)

    async def _run(
        self,
        decide: Callable[[list[_Item]], Awaitable[list[Message]]],
        records: Sequence[Any],
        tools: Mapping[str, Any],
    ) -> StepOutcome:
        self._reach("before-decode")
        messages: list[Message] = []
        good, wanted = self._plainly(records) or self._one_by_one(records, messages)
        self._reach("after-decode")
        if self._says_revision:
            wanted = max([wanted, *[model.revision for _, model in good]])
        if wanted and wanted > (known := tools["definitions"].revision):
            raise Unavailable("definitions behind", f"of revision {wanted}; here is {known}")
        self._reach("before-step")
        if good:
            messages += await decide(good)
        self._reach("after-step")
        dead = sum(message.topic == DEAD_LETTERS.name and _BY_POLICY not in message.headers for message in messages)
        return StepOutcome(messages, len(records), dead)

    def _plainly(self, records: Sequence[Any]) -> tuple[list[_Item], int] | None:
        """What nearly all batches are: JSON as it should be, and nothing beside it. None for any other."""
        if self._decode_all is None or any(map(_headers, records)):
            return None
        try:
            return list(zip(records, self._decode_all([raw.value for raw in records]), strict=True)), 0
        except Undecodable:
            return None

    def _one_by_one(self, records: Sequence[Any], messages: list[Message]) -> tuple[list[_Item], int]:
        """The records that can be read, and the config revision that their headers ask for; dead letters for others."""
        good: list[_Item] = []
        wanted = 0
        for raw in records:
            record = self._record(raw) if self._decode_all is None else raw
            try:
                model = self._topic.codec.decode(record)
            except Undecodable as error:
                messages.append(self._dead_letter(raw, None, Poison(error.reason, error.exception)))
                continue
            if raw.headers:
                model = _again(model, record)
                wanted = max(wanted, self._said_revision(record, model))
            good.append((raw, model))
        return good, wanted

    def _record(self, raw: Any) -> Record:
        return to_record(raw, self._topic.name, self._first_partition)

    def _said_revision(self, record: Any, model: Any) -> int:
        """The config revision by which an operator had the record judged, as its headers say; of what anybody may write
        only what is signed counts."""
        if isinstance(model, TrackedPayload):
            signed = self._replay_of(model) if model.replay else None
            return signed.revision if signed else 0
        return 0 if isinstance(model, ForeignRecord | DeadLetter) else revision_of(record)

    async def _halve(self, step: _TryStep, items: list[_Item]) -> list[Message]:
        try:
            return await step([model for _, model in items])
        except Exception as error:
            if unavailable_cause(error) is not None:
                raise
            return await self._apart(step, items, error)

    async def _apart(self, step: _TryStep, items: list[_Item], error: Exception) -> list[Message]:
        """Each half of what failed together."""
        if len(items) == 1:
            return await self._judge(step, items[0], error)
        middle = len(items) // 2
        return await self._halve(step, items[:middle]) + await self._halve(step, items[middle:])

    async def _judge(self, step: _TryStep, item: _Item, error: Exception) -> list[Message]:
        """A record that fails alone is poison; where the error is one nobody expected, only if it fails again."""
        poison = poison_of(error)
        if poison.reason == "bug":
            try:
                return await step([item[1]])
            except Exception as again:
                if unavailable_cause(again) is not None:
                    raise
                poison = poison_of(again)
        return [self._dead_letter(*item, poison)]

    def _dead_letter(self, raw: Any, model: Any, poison: Poison) -> Message:
        return dead_letter(self._record(raw), model, poison, self._stage.name, self._replay_of)


def encode(models: Iterable[Any]) -> list[Message]:
    """Messages for what a step returned. Raises Poison for one too large for its topic, before anything commits."""
    messages = []
    for model in models:
        topic = topic_of(model)
        message = topic.encode(model)
        if len(message.value or b"") + len(message.key or b"") > topic.max_bytes:
            raise Poison("output_too_large")
        messages.append(message)
    return messages


def to_record(raw: Any, topic: str, first_partition: int = 0) -> Record:
    """A record as read by aiokafka, in our own type, under the topic's name in the catalogue."""
    return Record(
        topic,
        first_partition + raw.partition,
        raw.offset,
        raw.timestamp or 0,
        raw.key,
        raw.value,
        tuple(raw.headers or ()),
    )


def _again(model: Any, record: Record) -> Any:
    """What was sent again after it had failed knows how often."""
    if (attempt := attempt_of(record)) and hasattr(model, "attempt") and not isinstance(model, DeadLetter):
        model.attempt = attempt
    return model
