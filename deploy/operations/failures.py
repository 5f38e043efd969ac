"""Rejected events and dead letters, as operators look at them and give them up."""

from datetime import datetime
from typing import Any

import msgspec
from psycopg.rows import DictRow

from deploy.operations.reports import rows
from processors.storage.database import Connection, as_json


class Selection(msgspec.Struct):
    """Which failures are meant. None: any."""

    kind: str
    stage: str | None = None
    reason: str | None = None
    source: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: Places, as `list` prints them.
    places: list[str] | None = None
    state: str | None = "open"

    def where(self) -> str:
        """The condition, with `values` as parameters."""
        given = [_CONDITIONS[name] for name in _CONDITIONS if getattr(self, name) is not None]
        return " and ".join(["kind = %(kind)s", *given])

    def values(self) -> dict[str, Any]:
        """What the condition's parameters stand for. Raises LookupError for what is no place."""
        places = None if self.places is None else as_json([_key(place) for place in self.places])
        return {**msgspec.structs.asdict(self), "places": places}


PLACE = "topic || '/' || partition || '/' || \"offset\" || '/' || ordinal"
KEY = '(topic, partition, "offset", ordinal)'
_CONDITIONS = {
    "stage": "stage = %(stage)s",
    "reason": "reasons @> jsonb_build_array(jsonb_build_object('code', %(reason)s::text))",
    "source": "source = %(source)s",
    "type": "type = %(type)s",
    "since": "failed_at >= %(since)s",
    "until": "failed_at < %(until)s",
    "places": f"{KEY} in (select t, p, o, n from jsonb_to_recordset(%(places)s::jsonb) "
    "as r(t text, p int, o bigint, n int))",
    # What a command that died was sending is still open.
    "state": "(state = %(state)s or (state = 'sending' and %(state)s = 'open'))",
}
_COLUMNS = (
    f"{PLACE} as place, kind, stage, source, type, event_id, reasons, failed_at, state, attempt, read_from, repaired_by"
)


def _key(place: str) -> dict[str, Any]:
    try:
        topic, partition, offset, ordinal = place.rsplit("/", 3)
        return {"t": topic, "p": int(partition), "o": int(offset), "n": int(ordinal)}
    except ValueError as error:
        raise LookupError(f"{place} is no place; write it as `list` prints it, as tracks/0/1042/3") from error


async def listed(connection: Connection, selection: Selection, limit: int) -> list[DictRow]:
    """The failures, the latest first, without their content."""
    return await rows(
        connection,
        f"select {_COLUMNS} from failures where {selection.where()} "
        f"order by failed_at desc, {KEY[1:-1]} limit %(limit)s",
        {**selection.values(), "limit": limit},
    )


async def shown(connection: Connection, selection: Selection) -> DictRow | None:
    """One failure with its content."""
    query = f"select {_COLUMNS}, key, content from failures where {selection.where()}"
    found = await rows(connection, query, selection.values())
    return found[0] if found else None


#: It was sent again, and has its outcome elsewhere: the command that sent it did not come to note that.
_LANDED = (
    "(topic = 'tracks' and (kind = 'rejected' or stage in ('validate', 'identify', 'persist', 'record-failures')) and ("
    + " or ".join(
        f"exists (select from {table} where origin_partition = failures.partition "
        'and origin_offset = failures."offset" and failures.ordinal in (-1, origin_ordinal))'
        for table in ("events", "event_duplicates")
    )
    + "))"
)
#: What a command that died was sending may be under way: given up, it would count twice.
_DROPPABLE = f"(state = 'open' or {_LANDED})"


async def droppable(connection: Connection, selection: Selection) -> tuple[int, int]:
    """How many may be given up, and how many not, because they may be under way."""
    (found,) = await rows(
        connection,
        f"select count(*) filter (where {_DROPPABLE}) as free, count(*) as n from failures where {selection.where()}",
        selection.values(),
    )
    return found["free"], found["n"] - found["free"]


async def drop(connection: Connection, selection: Selection) -> int:
    """Give up those of them that may be: their content is deleted, that they were is not. How many; those that have
    landed count as replayed."""
    done = await rows(
        connection,
        f"update failures set state = case when {_LANDED} then 'replayed' else 'dropped' end, content = '', key = null "
        f"where {selection.where()} and {_DROPPABLE} returning state",
        selection.values(),
    )
    return sum(row["state"] == "dropped" for row in done)
