"""What any sender of webhooks posts to /collect, as payloads of ours: its body is the event's properties."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ingest.libraries.translated import Translated, id_of
from ingest.refused import Refused
from schemas.definitions.inbound import Webhook
from schemas.limits import MAX_EVENTS
from schemas.reading import read_json
from workflows.identifiers import value_at

_raw = msgspec.json.Decoder(msgspec.Raw).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode


def read(body: bytes) -> list[msgspec.Raw]:
    """The properties of each event in a JSON body: an object is one, a list of them several. Raises PayloadError,
    Refused."""
    if not body.strip():
        return [msgspec.Raw(b"{}")]
    if not body.lstrip().startswith(b"["):
        return [read_json(_raw, body)]
    found = read_json(_list, body)
    if not found:
        raise Refused(400, "empty_batch", "an empty list is no event")
    if len(found) > MAX_EVENTS:
        raise Refused(413, "batch_too_large", f"a list may have {MAX_EVENTS} events")
    return found


def translated(
    properties: msgspec.Raw, type: str, session: str | None, event_id: str | None, webhook: Webhook
) -> Translated:
    """One event. Its session is that of the path of the request, else what lies where the source says."""
    at = _finder(properties, webhook)
    event: dict[str, Any] = {"type": type, "properties": properties}
    if (id := at(webhook.event_id) or event_id) is not None:
        event["id"] = id
    profile = at(webhook.profile)
    whose = session or at(webhook.session)
    return Translated(event, whose, profile=profile, nobodys=not (whose or profile or webhook.makes_profiles))


def _finder(properties: msgspec.Raw, webhook: Webhook) -> Any:
    asks = webhook.event_id or webhook.session or webhook.profile
    try:
        value = _any(properties) if asks else None
    except (msgspec.DecodeError, RecursionError):
        value = None  # the event is rejected for it, with its reason
    found: Mapping[str, Any] = value if isinstance(value, dict) else {}
    return lambda path: id_of(value_at(found, path)) if path else None
