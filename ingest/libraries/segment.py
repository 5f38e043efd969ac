"""Segment's and RudderStack's libraries: track, identify, page, screen, group, alias, alone or in batches.

After the tracking specification that both publish. Messages go into payloads by session; times are corrected by
`sentAt` later, as those of any payload.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ingest.libraries.translated import (
    NOTHING,
    Hide,
    Translated,
    each,
    fields,
    id_of,
    session_of,
    texts,
    type_of,
    written,
)
from ingest.refused import Refused
from schemas.limits import MAX_CONTEXT_BYTES, MAX_EVENTS
from schemas.reading import read_json

#: Short names, as libraries for browsers use them in paths.
SHORT = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}
_TYPES: Mapping[str, str] = {"page": "page-view", "screen": "screen-view"}


class Message(msgspec.Struct, gc=False, rename="camel"):
    """What counts of a message; anything may have been sent."""

    type: Any = None
    message_id: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    previous_id: Any = None
    group_id: Any = None
    event: Any = None
    name: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    category: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    properties: msgspec.Raw = NOTHING
    traits: msgspec.Raw = NOTHING
    context: msgspec.Raw = NOTHING
    timestamp: Any = None
    original_timestamp: Any = None
    sent_at: Any = None
    write_key: Any = None


class Batch(msgspec.Struct, gc=False, rename="camel"):
    """Messages as they were written, and what stands for all of them."""

    batch: list[msgspec.Raw] = []
    context: msgspec.Raw = NOTHING
    sent_at: Any = None
    write_key: Any = None


_batch = msgspec.json.Decoder(Batch).decode
_message = msgspec.json.Decoder(Message).decode


def read(body: bytes, kind: str) -> Batch:
    """The batch in a body; a message of its own (`kind` is not `batch`) is one of one. Raises PayloadError, Refused."""
    if kind != "batch":
        message = read_json(_message, body)
        alone = {**(fields(msgspec.Raw(body.strip())) or {}), "type": written(kind)}
        return Batch([written(alone)], sent_at=message.sent_at, write_key=message.write_key)
    batch = read_json(_batch, body)
    if not batch.batch:
        raise Refused(400, "empty_batch", "a batch has a list of messages in `batch`")
    if len(batch.batch) > MAX_EVENTS:
        raise Refused(413, "batch_too_large", f"a batch may have {MAX_EVENTS} messages")
    if len(bytes(batch.context)) > MAX_CONTEXT_BYTES:
        raise Refused(400, "invalid_context", f"a context may have {MAX_CONTEXT_BYTES} bytes: each message has it")
    return batch


def keys_of(batch: Batch) -> set[str]:
    """The write keys that the body itself shows, the batch's or its messages'."""
    own = {batch.write_key} if isinstance(batch.write_key, str) and batch.write_key else set()
    return own | texts(batch.batch, lambda raw: [_message(raw).write_key])


def translated(batch: Batch, hide: Hide) -> list[Translated]:
    """The batch's messages as events of ours, in their order. `hide` makes keyed hashes: a session's id stays where its
    person's may have to go."""
    common = fields(batch.context) or {}
    return each(batch.batch, lambda raw: _event(_message(raw), common, batch.sent_at, hide))


def _event(message: Message, common: Mapping[str, msgspec.Raw], sent_at: Any, hide: Hide) -> Translated:
    context = fields(message.context)
    event: dict[str, Any] = {
        "type": _type(message),
        "properties": _properties(message, context or {}),
        "context": message.context if context is None else _context(message, {**common, **context}),
    }
    if message.message_id is not None:
        event["id"] = message.message_id
    time = message.original_timestamp if message.original_timestamp is not None else message.timestamp
    if time is not None:
        event["timestamp"] = time
    session = session_of(message.anonymous_id, message.user_id, hide)
    sent_at = message.sent_at if message.sent_at is not None else sent_at
    return Translated(event, session, sent_at, nobodys=session is None)


def _type(message: Message) -> Any:
    if message.type == "track":
        return type_of(message.event)
    return _TYPES.get(message.type, message.type) if isinstance(message.type, str) else message.type


def _properties(message: Message, context: Mapping[str, msgspec.Raw]) -> Any:
    """Of whatever is no object, that itself: it is rejected with its reason, and kept."""
    given = fields(message.properties)
    traits = fields(message.traits)
    match message.type:
        case "identify":
            # RudderStack's libraries write them into the context.
            about = fields(context.get("traits", NOTHING)) or {}
            return message.traits if traits is None else {**about, **traits}
        case "group":
            return message.traits if traits is None else {"group_id": message.group_id, "traits": traits}
        case "alias":
            return {"previous_id": message.previous_id}
        case "page" | "screen" if given is not None:
            named = {"name": message.name, "category": message.category}
            return {name: value for name, value in named.items() if _says(value)} | given
        case _:
            return message.properties if given is None else given


def _says(value: Any) -> bool:
    return value is not msgspec.UNSET and bytes(value) != b"null"


def _context(message: Message, context: dict[str, msgspec.Raw]) -> dict[str, Any]:
    found: dict[str, Any] = dict(context)
    for name, id in (("user_id", id_of(message.user_id)), ("anonymous_id", id_of(message.anonymous_id))):
        found.pop(name, None)  # what a library says of itself, and not what somebody wrote beside it
        if id is not None:
            found[name] = id
    if message.type == "track" and message.event != type_of(message.event):
        found["event_name"] = message.event
    return found
