"""Where each lane stands, and the outputs of its last batch: the table that makes the pipeline exact."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import zstandard

from processors.storage.database import Connection
from schemas.codecs import Message

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Message]).decode
#: Level 2 takes no longer than level 1 and leaves a fifth less. Its memory is used again: of the event loop alone.
_compress = zstandard.ZstdCompressor(level=2).compress
#: An outbox of so many bytes is compressed. PostgreSQL pays more for storing a kilobyte than we for compressing it.
_COMPRESSED_FROM = 2000
_THIS_LANE = "where stage = %s and topic = %s and partition = %s"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class LaneKey(msgspec.Struct, frozen=True):
    """One partition of one stage. `topic` is the catalogue's name, without prefix."""

    stage: str
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.stage} {self.topic}[{self.partition}]"


class ProgressRow(msgspec.Struct):
    """A lane's row."""

    next_offset: int
    topic_id: str
    #: Kafka's position up to which an operator knows that the database went back behind it.
    forgiven: int


class Progress:
    """The row of one lane."""

    def __init__(self, connection: Connection, key: LaneKey) -> None:
        self._connection, self._key = connection, key
        self._lane = key.stage, key.topic, key.partition

    async def create(self, topic_id: str, beginning: int) -> ProgressRow:
        """The row, made if it is not there (an absent row locks nothing); committed."""
        await self._connection.execute(
            "insert into stage_progress (stage, topic, partition, topic_id, next_offset, first_offset) "
            "values (%s, %s, %s, %s, %s, %s) "
            "on conflict do nothing",
            (*self._lane, topic_id, beginning, beginning),
        )
        row = await self.lock()
        await self._connection.commit()
        return row

    async def lock(self) -> ProgressRow:
        """The row, locked until the transaction ends."""
        cursor = await self._connection.execute(
            f"select next_offset, topic_id, forgiven from stage_progress {_THIS_LANE} for update", self._lane
        )
        row = await cursor.fetchone()
        if row is None:
            raise LookupError(f"{self._key}: its row was deleted")
        return ProgressRow(*row)

    async def outbox(self) -> list[Message]:
        """The outputs of the batch that ended at the row's `next_offset`."""
        cursor = await self._connection.execute(
            f"select outbox from stage_progress {_THIS_LANE}", self._lane, binary=True
        )
        stored = (await cursor.fetchone() or (None,))[0] or b""
        if stored.startswith(_ZSTD_MAGIC):  # no list begins like this in msgpack
            stored = zstandard.decompress(stored)  # raises for one that is cut or damaged
        return _decode(stored) if stored else []

    async def store(self, next_offset: int, outbox: Sequence[Message]) -> None:
        """Everything below `next_offset` is done, with these outputs."""
        await self._connection.execute(
            f"update stage_progress set next_offset = %s, outbox = %b, updated_at = now() {_THIS_LANE}",
            (next_offset, _stored(outbox), *self._lane),
        )

    async def forget_outbox(self, topic_id: str, next_offset: int) -> None:
        """The outputs up to here, of this topic, are delivered: nobody will ask for them."""
        await self._connection.execute(
            f"update stage_progress set outbox = null {_THIS_LANE} "
            "and topic_id = %s and next_offset = %s and outbox is not null",
            (*self._lane, topic_id, next_offset),
        )


async def lock_lanes(
    connection: Connection, stage: str, topic: str, partitions: Sequence[int], patience_ms: int
) -> dict[int, ProgressRow]:
    """The rows of several lanes of a stage, by partition, locked until the transaction ends; of those that have one.
    From then on the transaction waits for a lock no longer than `patience_ms`."""
    cursor = await connection.execute(
        "select partition, next_offset, topic_id, forgiven, set_config('lock_timeout', %s, true) from stage_progress "
        "where stage = %s and topic = %s and partition = any(%s) order by partition for update",
        (str(patience_ms), stage, topic, list(partitions)),
    )
    return {partition: ProgressRow(*row) for partition, *row, _ in await cursor.fetchall()}


async def store_lanes(
    connection: Connection, stage: str, topic: str, shares: Sequence[tuple[Mapping[int, int], Sequence[Message]]]
) -> None:
    """Of each share: everything of these partitions below these offsets is done, and with each of them these outputs
    are kept."""
    lanes = [(partition, end, at) for at, (ends, _) in enumerate(shares, 1) for partition, end in ends.items()]
    await connection.execute(
        "update stage_progress as p set next_offset = l.next_offset, outbox = nullif((%b::bytea[])[l.at], ''), "
        "updated_at = now() from unnest(%s::int[], %s::bigint[], %s::int[]) as l (partition, next_offset, at) "
        "where stage = %s and topic = %s and p.partition = l.partition",
        ([_stored(outbox) or b"" for _, outbox in shares], *map(list, zip(*lanes, strict=True)), stage, topic),
    )


def _stored(outbox: Sequence[Message]) -> bytes | None:
    if not outbox:
        return None
    whole = _encode(outbox)
    return _compress(whole) if len(whole) >= _COMPRESSED_FROM else whole


async def stored_positions(connection: Connection, stage: str, topics: Iterable[str]) -> Mapping[tuple[str, int], int]:
    """(topic, partition) to the next offset, for all lanes of a stage that have a row."""
    cursor = await connection.execute(
        "select topic, partition, next_offset from stage_progress where stage = %s and topic = any(%s)",
        (stage, list(topics)),
    )
    return {(topic, partition): offset for topic, partition, offset in await cursor.fetchall()}


class LaneHealth(msgspec.Struct):
    """What a lane has met since it was last written down: for status and metrics."""

    #: Records that came again after they were done, and outputs that were sent again.
    redelivered: int = 0
    fenced: int = 0
    retries: Counter[str] = msgspec.field(default_factory=Counter)
    #: Why the lane stands still; None where it does not.
    stopped: str | None = None

    @property
    def has_news(self) -> bool:
        """Whether it has numbers that are not written down."""
        return bool(self.redelivered or self.fenced or self.retries)

    def taken(self) -> "LaneHealth":
        """What it holds; the numbers begin anew."""
        taken = LaneHealth(self.redelivered, self.fenced, self.retries, self.stopped)
        self.redelivered, self.fenced, self.retries = 0, 0, Counter()
        return taken

    def give_back(self, taken: "LaneHealth") -> None:
        """What could not be written down counts again."""
        self.redelivered += taken.redelivered
        self.fenced += taken.fenced
        self.retries.update(taken.retries)


async def add_health(connection: Connection, key: LaneKey, health: LaneHealth, owned: bool) -> None:
    """Add what a lane has met to what it had met before. Whether it stands still says only who owns it."""
    await connection.execute(
        "insert into lane_health as h (stage, topic, partition, redelivered, fenced, retries, stopped) "
        "values (%s, %s, %s, %s, %s, %s::jsonb, %s) on conflict (stage, topic, partition) do update set "
        "redelivered = h.redelivered + excluded.redelivered, fenced = h.fenced + excluded.fenced, "
        "stopped = case when %s then excluded.stopped else h.stopped end, "
        "retries = h.retries || (select coalesce(jsonb_object_agg(key, "
        "value::bigint + coalesce((h.retries->>key)::bigint, 0)), '{}') from jsonb_each_text(excluded.retries))",
        (
            key.stage,
            key.topic,
            key.partition,
            health.redelivered,
            health.fenced,
            msgspec.json.encode(health.retries).decode(),
            health.stopped if owned else None,
            owned,
        ),
    )
