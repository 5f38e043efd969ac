"""Identifiers that were not linked to whom they were shown for, kept with the reason: for people to see."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from processors.storage.database import Connection, as_json


class RefusedIdentifier(msgspec.Struct):
    """A value that a profile was shown with, in an event of this source, and why it is not the profile's."""

    namespace: str
    value: str
    profile: str
    reason: str
    source: str
    event: str
    at: datetime


async def note_refused(connection: Connection, refused: Sequence[RefusedIdentifier]) -> None:
    """The first time of each counts."""
    if refused:
        await connection.execute(
            "insert into refused_identifiers (namespace, value, profile_id, reason, source, event_id, first_at) "
            "select namespace, value, profile, reason, source, event, at from jsonb_to_recordset(%s::jsonb) as r"
            "(namespace text, value text, profile uuid, reason text, source text, event text, at timestamptz) "
            "order by namespace, value, profile on conflict do nothing",
            (as_json(refused),),
        )
