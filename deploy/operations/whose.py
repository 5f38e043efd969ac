"""Whose something is that failed: read as the stage that could not process it would have read it."""

import uuid
from typing import Any

import msgspec

from processors.storage.erasures import key_hash, session_hash
from schemas.events import EMPTY_OBJECT
from schemas.payload import TrackerPayload, context_of, read_event, read_payload
from schemas.reading import PayloadError
from workflows.definitions import Definitions
from workflows.identification import Identifiers, Shown
from workflows.identity import ProfileIds


class _Behind(msgspec.Struct):
    """What names somebody in the records behind validate: events, merge jobs, changes, deliveries."""

    profile: str | None = None
    profiles: list[str] = []
    merged_into: str | None = None
    source: str = ""
    session: str | None = None
    type: str = ""
    properties: msgspec.Raw = EMPTY_OBJECT
    context: msgspec.Raw = EMPTY_OBJECT
    namespace: str = ""
    value: Any = None


class Whose:
    """Finds profiles, and sessions and identifiers in the form in which those of the erased are remembered."""

    def __init__(self, identifiers: Identifiers, ids: ProfileIds, definitions: Definitions) -> None:
        self._identifiers, self._ids, self._definitions = identifiers, ids, definitions

    def names(self, key: bytes | None, body: bytes) -> tuple[set[str], set[str]]:
        """Profiles, and hashed keys, of a payload or of whatever travels behind validate; none of what is neither."""
        try:
            payload = read_payload(body)
        except PayloadError:
            return self._of_record(key, body)
        return self._of_payload(payload)

    def _of_record(self, key: bytes | None, body: bytes) -> tuple[set[str], set[str]]:
        try:
            record = msgspec.json.decode(body, type=_Behind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            record = _Behind()
        profiles = {*record.profiles, record.profile or "", record.merged_into or ""}
        profiles.add(bytes(key).decode(errors="replace") if key else "")
        hashes = set()
        if record.source and record.session:
            hashes.add(session_hash(self._ids.hide, record.source, record.session))
        if record.type:
            shown = self._shown_in(record)
            hashes |= {key_hash(self._ids.hide, one.key) for one in shown}
        if isinstance(record.value, str):
            hashes.add(key_hash(self._ids.hide, (record.namespace, record.value)))
        return {id for id in profiles if is_id(id)}, hashes

    def _shown_in(self, record: _Behind) -> list[Shown]:
        try:
            return self._identifiers.shown_in(record.type, record.source, record.properties, record.context)
        except (msgspec.DecodeError, RecursionError):
            return []  # whatever it is, no stage has ever read it

    def _of_payload(self, payload: TrackerPayload) -> tuple[set[str], set[str]]:
        source = self._definitions.sources.get(payload.source or "")
        profiles, hashes = set(), set()
        if payload.source and payload.session:
            hashes.add(session_hash(self._ids.hide, payload.source, payload.session))
        for raw in payload.events:
            event = read_event(raw)
            made = source is not None and source.client_profile_ids
            profiles.add(
                self._ids.resolve(payload.source or "", payload.session, payload.profile, event.id or "", made)
            )
            context = context_of(payload, event)
            shown = self._identifiers.shown_in(event.type, payload.source or "", event.properties, context)
            hashes |= {key_hash(self._ids.hide, one.key) for one in shown}
        return profiles, hashes


def is_id(text: str) -> bool:
    """Whether it may be a profile's id: a UUID, as UUIDs are written."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
