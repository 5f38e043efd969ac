"""PostHog's libraries: captures, alone or in batches, as events of ours.

A person has many distinct ids there; here each is an `anonymous-id`, and what `$identify` names is the `user-id`.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ingest.libraries.translated import NOTHING, Hide, Translated, each, fields, id_of, session_of, texts, type_of
from ingest.refused import Refused
from ingest.request import fields_of
from schemas.limits import MAX_BATCH_BYTES, MAX_EVENTS
from schemas.reading import read_json

_TYPES: Mapping[str, str] = {
    "$pageview": "page-view",
    "$screen": "screen-view",
    "$identify": "identify",
    "$set": "identify",
    "$set_once": "identify",
    "$create_alias": "alias",
    "$groupidentify": "group",
}
#: Properties of theirs under the names that event types of ours have.
_PAGE = {"url": "$current_url", "path": "$pathname", "referrer": "$referrer", "title": "title"}
_SCREEN = {"name": "$screen_name"}


class Capture(msgspec.Struct, gc=False):
    """What counts of a message; anything may have been sent."""

    event: Any = None
    distinct_id: Any = None
    uuid: Any = None
    properties: msgspec.Raw = NOTHING
    options: msgspec.Raw = NOTHING
    set: msgspec.Raw = msgspec.field(default=NOTHING, name="$set")
    set_once: msgspec.Raw = msgspec.field(default=NOTHING, name="$set_once")
    timestamp: Any = None
    sent_at: Any = None
    api_key: Any = None
    token: Any = None


class Batch(msgspec.Struct, gc=False):
    """Captures as they were written, and what stands for all of them."""

    batch: list[msgspec.Raw] = []
    sent_at: Any = None
    api_key: Any = None
    token: Any = None


class _Whole(msgspec.Struct, gc=False):
    batch: list[msgspec.Raw] | None = None
    sent_at: Any = None
    sentAt: Any = None
    api_key: Any = None
    token: Any = None


_whole = msgspec.json.Decoder(_Whole).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_capture = msgspec.json.Decoder(Capture).decode


def unwrapped(body: bytes, content_type: str, compression: str, inflate: Callable[[bytes, int], bytes]) -> bytes:
    """The JSON in a body: it may be compressed in itself, or a field of a form, in base64. Raises Refused, as
    `inflate` does for more bytes than it may make."""
    if compression in ("gzip-js", "gzip"):
        return inflate(body, MAX_BATCH_BYTES)
    if content_type == "application/x-www-form-urlencoded" or compression == "base64":
        try:
            return b64decode(fields_of(body.decode()).get("data", ""), validate=True)
        except ValueError as error:
            raise Refused(400, "bad_encoding", "the field `data` is not base64") from error
    return body


def read(body: bytes) -> Batch:
    """The batch in a body: an object with a `batch`, a list, or one message alone. Raises PayloadError, Refused."""
    if body.lstrip().startswith(b"["):
        found = Batch(read_json(_list, body))
    else:
        whole = read_json(_whole, body)
        sent_at = whole.sent_at if whole.sent_at is not None else whole.sentAt
        alone = [msgspec.Raw(body.strip())] if whole.batch is None else whole.batch
        found = Batch(alone, sent_at, whole.api_key, whole.token)
    if not found.batch:
        raise Refused(400, "empty_batch", "a batch has a list of messages in `batch`")
    if len(found.batch) > MAX_EVENTS:
        raise Refused(413, "batch_too_large", f"a batch may have {MAX_EVENTS} messages")
    return found


def keys_of(batch: Batch) -> set[str]:
    """The project keys that the body itself shows, the batch's or its messages'."""
    own = {key for key in (batch.api_key, batch.token) if isinstance(key, str) and key}
    return own | texts(batch.batch, _keys_in)


def _keys_in(raw: msgspec.Raw) -> list[Any]:
    capture = _capture(raw)
    return [capture.api_key, capture.token, _text(fields(capture.properties) or {}, "token")]


def ids_of(batch: Batch) -> list[str | None]:
    """What the sender calls each message, also where it is wrong otherwise."""
    found: list[str | None] = []
    for raw in batch.batch:
        uuid = next(iter(texts([raw], lambda one: [_capture(one).uuid])), None)
        found.append(uuid)
    return found


def translated(batch: Batch, hide: Hide) -> list[Translated]:
    """The batch's messages as events of ours, in their order. `hide` makes keyed hashes: of a distinct id nobody knows
    whether it is a device's or a person's."""
    return each(batch.batch, lambda raw: _event(_capture(raw), batch.sent_at, hide))


def _event(capture: Capture, sent_at: Any, hide: Hide) -> Translated:
    properties = fields(capture.properties)
    known = properties or {}
    if properties is not None:
        properties.pop("token", None)  # the project's key
    distinct = capture.distinct_id if capture.distinct_id is not None else _text(known, "distinct_id")
    kind = _TYPES.get(capture.event) if isinstance(capture.event, str) else None
    event: dict[str, Any] = {
        "type": kind or _type(capture.event),
        "properties": capture.properties if properties is None else _properties(kind, capture, properties),
        "context": _context(kind, capture, distinct, known),
    }
    if capture.uuid is not None:
        event["id"] = capture.uuid
    if capture.timestamp is not None:
        event["timestamp"] = capture.timestamp
    options = fields(capture.options) or {}
    session = None if _is_nobody(distinct, known, options) else session_of(None, distinct, hide)
    sent_at = capture.sent_at if capture.sent_at is not None else sent_at
    if session is None:
        event["context"].pop("anonymous_id", None)
    return Translated(event, session, sent_at, nobodys=session is None)


def _is_nobody(distinct: Any, sent: Mapping[str, msgspec.Raw], options: Mapping[str, msgspec.Raw]) -> bool:
    """What servers capture without saying of whom has an id made up for it; what is said of a group, the group's."""
    group = f"${_text(sent, '$group_type')}_{_text(sent, '$group_key')}"
    wanted = (_text(sent, "$process_person_profile"), _text(options, "process_person_profile"))
    return distinct == group or (_text(sent, "$is_server") is True and False in wanted)


def _type(name: Any) -> Any:
    return type_of(name.removeprefix("$")) if isinstance(name, str) else name


def _properties(kind: str | None, capture: Capture, sent: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    match kind:
        case "identify":
            once, always = (
                {**(fields(beside) or {}), **(fields(sent.get(name, NOTHING)) or {})}
                for name, beside in (("$set_once", capture.set_once), ("$set", capture.set))
            )
            # What is to be set only where there is nothing stays apart: mappings tell the two.
            return {**always, "set_once": once} if once else always
        case "group":
            traits = fields(sent.get("$group_set", NOTHING)) or {}
            return {"group_id": sent.get("$group_key"), "group_type": sent.get("$group_type"), "traits": traits}
        case "alias":
            # Some of their libraries write who it was first, some who it is: each is the other's.
            return {"previous_id": _text(sent, "alias")}
        case "page-view" | "screen-view":
            names = _PAGE if kind == "page-view" else _SCREEN
            return {name: sent[theirs] for name, theirs in names.items() if theirs in sent} | dict(sent)
        case _:
            return dict(sent)


def _context(kind: str | None, capture: Capture, distinct: Any, sent: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    context: dict[str, Any] = {
        name: sent[theirs] for name, theirs in (("ip", "$ip"), ("userAgent", "$raw_user_agent")) if theirs in sent
    }
    if "$lib" in sent:
        context["library"] = {"name": sent["$lib"], "version": sent.get("$lib_version")}
    before = _text(sent, "$anon_distinct_id")
    if (anonymous := id_of(before if kind == "identify" and before else distinct)) is not None:
        context["anonymous_id"] = anonymous
    if capture.event == "$identify" and (user := id_of(distinct)) is not None:
        context["user_id"] = user
    if not kind and isinstance(capture.event, str) and capture.event != _type(capture.event):
        context["event_name"] = capture.event
    return context


def _text(sent: Mapping[str, msgspec.Raw], name: str) -> Any:
    return msgspec.json.decode(sent[name]) if name in sent else None
