"""Write keys: made, taken over from elsewhere, listed, revoked. Only their hashes are kept."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from deploy.definitions import Change, plain
from deploy.operations.reports import rows
from deploy.operations.versions import change
from deploy.settings import Settings
from processors.storage.database import Connection
from schemas.definitions.inbound import WriteKey
from workflows.definitions import DefinitionError

#: Bytes of randomness in a key of ours.
KEY_BYTES = 24
#: A key that somebody brings along must not be guessed either.
MIN_CHARS, MAX_CHARS = 16, 200


class Known(msgspec.Struct):
    """A write key in force."""

    id: str
    source: str
    name: str
    begins: str
    made_at: datetime


async def add_key(settings: Settings, source: str, name: str, key: str | None = None) -> tuple[str, str]:
    """A new write key of a source, or one that clients have already; the key and its id.

    Raises LookupError, DefinitionError for a key that is too easy."""
    if key is not None and (not MIN_CHARS <= len(key) <= MAX_CHARS or not key.isprintable() or " " in key):
        raise DefinitionError(f"a write key has {MIN_CHARS} to {MAX_CHARS} printable characters, and no spaces")
    made = key or f"hw_{secrets.token_urlsafe(KEY_BYTES)}"
    # Of what was brought along, so little that nobody could go on guessing from there.
    definition = WriteKey(id=sha256(made.encode()).hexdigest(), source=source, description=name, begins=made[:4])

    async def make(connection: Connection, current: Mapping[str, dict[str, Any]]) -> Change:
        if f"source/{source}" not in current:
            raise LookupError(f"there is no source {source!r}")
        if (known := current.get(definition.key)) is not None and known["source"] != source:
            raise DefinitionError(f"this is a key of the source {known['source']!r} already")
        return {definition.key: plain(definition)}

    await change(settings, make)
    return made, definition.id


async def revoke_key(settings: Settings, begin: str) -> str:
    """Take a key back, by its id or how that begins; whose it was. Raises LookupError."""
    found: list[str] = []

    async def make(connection: Connection, current: Mapping[str, dict[str, Any]]) -> Change:
        keys = [key for key in current if key.startswith(f"write-key/{begin}")]
        if len(keys) != 1 or len(begin) < 6:
            raise LookupError(f"there is no key {begin!r}" if not keys else f"say more of the id than {begin!r}")
        found.append(current[keys[0]]["source"])
        return {keys[0]: None}

    await change(settings, make)
    return found[0]


async def known_keys(connection: Connection) -> list[Known]:
    """All that are in force, by source."""
    found = await rows(
        connection,
        "select distinct on (key) key, body, changed_at from definitions where key like 'write-key/%%' "
        "order by key, revision desc",
        {},
    )
    keys = [
        Known(
            row["key"].partition("/")[2], body["source"], body.get("description", ""), body["begins"], row["changed_at"]
        )
        for row in found
        if (body := row["body"]) is not None
    ]
    return sorted(keys, key=lambda key: (key.source, key.made_at))
