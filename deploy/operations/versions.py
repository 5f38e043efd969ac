"""Versions of workflows: every one that was ever applied is kept; a draft is published, an earlier one comes back."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from deploy.definitions import Change, apply, in_force_after, plain
from deploy.kafka import kafka_admin
from deploy.operations.applying import take_turn
from deploy.operations.claiming import claim_traits
from deploy.operations.reports import rows
from deploy.sealing import Seals
from deploy.settings import Settings
from processors.storage.database import LANE_OPTIONS, Connection
from processors.storage.definitions import DefinitionStore
from schemas.definitions import DEFINITION

#: The definitions in force to what is to be changed of them.
Make = Callable[[Connection, Mapping[str, dict[str, Any]]], Awaitable[Change]]


class Version(msgspec.Struct):
    """One version of a workflow. `state`: live, draft, or previous."""

    revision: int
    state: str
    changed_by: str
    changed_at: datetime
    nodes: int


async def versions(connection: Connection, name: str) -> list[Version]:
    """All versions of a workflow, latest first. Raises LookupError."""
    found = await _history(connection, name)
    if not found:
        raise LookupError(f"there has never been a workflow {name!r}")
    latest = {row["key"]: row["revision"] for row in reversed(found)}
    return [
        Version(row["revision"], _state(row, latest), row["changed_by"], row["changed_at"], len(row["body"]["nodes"]))
        for row in found
        if row["body"] is not None and (not row["key"].startswith("workflow-draft/") or _is_latest(row, latest))
    ]


async def publish_draft(settings: Settings, name: str) -> None:
    """The draft becomes what is in force. Raises LookupError where there is none, DefinitionError."""
    draft = f"workflow-draft/{name}"

    async def make(connection: Connection, current: Mapping[str, dict[str, Any]]) -> Change:
        if draft not in current:
            raise LookupError(f"there is no draft of a workflow {name!r}")
        body = {field: value for field, value in current[draft].items() if field != "draft"}
        return {draft: None, f"workflow/{name}": body}

    await change(settings, make)


async def roll_back(settings: Settings, name: str, revision: int | None) -> int:
    """An earlier version is in force again, the one before where none is named; its revision.

    Raises LookupError where there is none, DefinitionError.
    """
    chosen: list[int] = []

    async def make(connection: Connection, current: Mapping[str, dict[str, Any]]) -> Change:
        lived = [row for row in await _history(connection, name) if row["key"] == f"workflow/{name}" and row["body"]]
        now = current.get(f"workflow/{name}")
        # Before it was first in force: so that going back twice goes back further.
        since = min((row["revision"] for row in lived if row["body"] == now), default=0)
        earlier = [row for row in lived if row["body"] != now and (revision is not None or row["revision"] < since)]
        wanted = [row for row in earlier if revision in (None, row["revision"])]
        if not wanted:
            raise LookupError(f"there is no {'such' if revision else 'other'} version of {name!r}")
        chosen.append(wanted[0]["revision"])
        return {f"workflow/{name}": wanted[0]["body"]}

    await change(settings, make)
    return chosen[0]


async def rotate_secrets(settings: Settings) -> int:
    """Seal every secret with the first key; in how many definitions. Raises SettingsError."""
    seals, count = Seals(settings), 0

    async def make(connection: Connection, current: Mapping[str, dict[str, Any]]) -> Change:
        nonlocal count
        known = {key: DEFINITION.validate_python(body) for key, body in current.items()}
        changed = {key: plain(seals.rotate(one)) for key, one in known.items() if seals.has_secrets(one)}
        count = len(changed)
        return {**changed}

    await change(settings, make)
    return count


async def change(settings: Settings, make: Make) -> None:
    """Change definitions that do not concern segments, when nobody else does."""
    async with (
        await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True, **LANE_OPTIONS) as lock,
        await psycopg.AsyncConnection.connect(settings.database_url) as connection,
    ):
        await take_turn(lock, lambda line: None)
        current = await DefinitionStore(connection).current()
        changes = await make(connection, current)
        await connection.commit()
        in_force_after(current, changes)
        await apply(connection, kafka_admin(settings), settings, changes)
        await claim_traits(settings, lambda line: None)


async def _history(connection: Connection, name: str) -> list[dict[str, Any]]:
    return await rows(
        connection,
        "select revision, key, body, changed_by, changed_at from definitions "
        "where key in ('workflow/' || %(name)s, 'workflow-draft/' || %(name)s) order by revision desc",
        {"name": name},
    )


def _is_latest(row: Mapping[str, Any], latest: Mapping[str, int]) -> bool:
    return bool(latest[row["key"]] == row["revision"])


def _state(row: Mapping[str, Any], latest: Mapping[str, int]) -> str:
    if row["key"].startswith("workflow-draft/"):
        return "draft"
    return "live" if _is_latest(row, latest) else "previous"
