"""archive: payloads as they came, byte for byte, with their place in `tracks`."""

from collections.abc import Sequence

import msgspec

from processors.connectors.archive import Archive
from schemas.events import TrackedPayload
from workflows.definitions import Definitions


class _SourceOnly(msgspec.Struct):
    class Source(msgspec.Struct):
        id: str = ""

    source: Source = msgspec.field(default_factory=Source)


_source_of = msgspec.json.Decoder(_SourceOnly).decode


async def archive(payloads: Sequence[TrackedPayload], definitions: Definitions, files: Archive) -> list[None]:
    """Returns when the payloads are on disk. Those of ephemeral sources, or that ask not to be kept, are left out."""
    kept = [payload for payload in payloads if _may_keep(payload, definitions)]
    if kept:
        await files.write(kept)
    return []


def _may_keep(payload: TrackedPayload, definitions: Definitions) -> bool:
    try:
        source = definitions.sources.get(_source_of(payload.body or b"").source.id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True  # what cannot be read is kept: nobody asked otherwise
    return source is None or (source.archive and not source.ephemeral)
