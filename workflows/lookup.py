"""What events carry of their profiles' traits, where their source asks for it. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from schemas.limits import MAX_LOOKUP_BYTES
from workflows.definitions import Definitions
from workflows.profile import ProfileState


def looked_up(state: ProfileState, names: tuple[str, ...]) -> dict[str, Any]:
    """The traits of these names that the profile has; large ones are left out, as every event would carry them."""
    found = {name: state.traits[name].value for name in names if name in state.traits}
    return {name: value for name, value in found.items() if len(msgspec.json.encode(value)) <= MAX_LOOKUP_BYTES}


def private_lookups(definitions: Definitions) -> Iterator[str]:
    """Private traits that sources look up, one sentence each: on an event nobody would know that they are private."""
    for source in definitions.sources.values():
        for trait in sorted(definitions.private_traits.intersection(source.lookup)):
            yield f"source/{source.id}: lookup: the trait {trait!r} is private"
