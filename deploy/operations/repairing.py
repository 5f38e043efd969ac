"""Repairing a rejected event, so that it can be sent again."""

from typing import Any

import msgspec

from deploy.operations.failures import Selection, shown
from deploy.operator_name import operator_name
from processors.storage.database import Connection

#: In place of a value: there shall be none.
REMOVED = object()


class RepairError(ValueError):
    """The repair cannot be made; the message says why."""


async def repair(connection: Connection, place: str, changes: dict[str, Any], payload: bytes | None) -> dict[str, Any]:
    """Change the event of a rejected payload, or put another payload in its place; the event as it is now.

    `changes` maps JSON pointers into the event to values, REMOVED to remove. Raises RepairError.
    """
    selection = Selection(kind="rejected", places=[place])
    row = await shown(connection, selection)
    if row is None:
        raise RepairError(f"there is no open rejected event at {place}")
    whole = _payload(payload if payload is not None else bytes(row["content"]))
    for pointer, value in changes.items():
        _put(whole["events"][0], pointer, value)
    cursor = await connection.execute(
        f"update failures set content = %(content)s, repaired_by = %(who)s where {selection.where()}".encode(),
        {**selection.values(), "content": msgspec.json.encode(whole), "who": operator_name()},
    )
    if cursor.rowcount != 1:
        raise RepairError(f"{place} was sent again or dropped meanwhile")
    event: dict[str, Any] = whole["events"][0]
    return event


def _payload(body: bytes) -> dict[str, Any]:
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RepairError("the payload is not JSON") from error
    if not isinstance(whole, dict) or not isinstance(whole.get("events"), list) or len(whole["events"]) != 1:
        raise RepairError("the payload must be an object whose `events` holds one event")
    if not isinstance(whole["events"][0], dict):
        raise RepairError("the event must be an object")
    return whole


def _put(event: dict[str, Any], pointer: str, value: Any) -> None:
    *path, last = pointer.removeprefix("/").replace("/", "\0").replace("~1", "/").replace("~0", "~").split("\0")
    inner: Any = event
    for name in path:
        inner = inner.setdefault(name, {}) if isinstance(inner, dict) else inner[_index(inner, name, pointer)]
        if not isinstance(inner, dict | list):
            raise RepairError(f"{pointer}: {name} is neither an object nor a list")
    place: Any = last if isinstance(inner, dict) else _index(inner, last, pointer)
    if value is not REMOVED:
        inner[place] = value
    elif isinstance(inner, list) or place in inner:
        del inner[place]


def _index(items: list[Any], name: str, pointer: str) -> int:
    if not name.isdecimal() or int(name) >= len(items):
        raise RepairError(f"{pointer}: the list has no element {name}")
    return int(name)
