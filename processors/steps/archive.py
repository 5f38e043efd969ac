"""archive: payloads as they came, byte for byte, with their place in `tracks`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from processors.connectors.archive import Archive
from schemas.events import TrackedPayload
from workflows.definitions import Definitions
from workflows.replays import Replays


class _Outline(msgspec.Struct):
    class Source(msgspec.Struct):
        id: str = ""

    source: Source = msgspec.field(default_factory=Source)
    options: Any = None
    events: Any = None


_outline_of = msgspec.json.Decoder(_Outline).decode


async def archive(
    payloads: Sequence[TrackedPayload], definitions: Definitions, replays: Replays, files: Archive
) -> list[None]:
    """Returns when the payloads are on disk. Those of ephemeral sources, or that ask not to be kept, are left out; so
    are those that come from the archive."""
    kept = [payload for payload in payloads if not _is_kept(payload, replays) and _may_keep(payload, definitions)]
    if kept:
        await files.write(kept)
    return []


def _is_kept(payload: TrackedPayload, replays: Replays) -> bool:
    replay = replays.read(payload.replay, payload.body)
    return replay is not None and replay.kind == "archive"


def _may_keep(payload: TrackedPayload, definitions: Definitions) -> bool:
    try:
        sent = _outline_of(payload.body or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True  # what cannot be read is kept: nobody asked otherwise
    if any(isinstance(options, dict) and options.get("saveEvents") is False for options in _options(sent)):
        return False
    source = definitions.sources.get(sent.source.id.strip())
    return source is None or (source.keeps_raw and not source.ephemeral)


def _options(sent: _Outline) -> list[Any]:
    """The payload's options and those of its events: one that must not be stored keeps the payload out."""
    events = sent.events if isinstance(sent.events, list) else []
    return [sent.options, *(event.get("options") for event in events if isinstance(event, dict))]
