"""Whether a source may send, and by which bridge."""

from schemas.failures import Reason
from workflows.definitions import Definitions


def source_reasons(source: str | None, definitions: Definitions, bridge: str | None = None) -> list[Reason]:
    """Why nothing may come from this source (by this bridge, where it is known); nothing where it may."""
    if source is None:
        return [Reason("no_source", "/source/id", "a payload names its source")]
    found = definitions.sources.get(source)
    if found is None:
        return [Reason("unknown_source", "/source/id", "no such source is defined")]
    if not found.enabled:
        return [Reason("source_disabled", "/source/id", "this source is switched off")]
    if bridge is not None and bridge not in found.bridges:
        return [Reason("bridge_not_allowed", "/source/id", f"this source may not use the {bridge} bridge")]
    return []
