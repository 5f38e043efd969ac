"""Traits that definitions both set as a whole and append to or remove from: what comes of them hangs on the order in
which events and merges come."""

from collections.abc import Iterator, Mapping

from schemas.definitions import AnyDefinition
from schemas.definitions.automation import ProfileMapping, Workflow
from schemas.definitions.identity import TraitDefinition

#: Where the settings of an action name traits: a table of them, or one.
_WHOLE = {
    "copy-to-profile": ("traits",),
    "map-to-profile": ("set", "set_if_empty"),
    "update-profile": ("set", "set_if_empty"),
    "value-changed": ("trait",),
}
_BY_ITEM = {"map-to-profile": ("append", "remove"), "update-profile": ("append", "remove")}


def contradicting(definitions: Mapping[str, AnyDefinition]) -> list[str]:
    """Such traits, one sentence each. With `merge: union` setting one is appending, so that it may be done beside."""
    united = {one.id for one in definitions.values() if isinstance(one, TraitDefinition) and one.merge == "union"}
    wholes, items, removed = _written(definitions)
    return [
        f"{items[trait]}: the trait {trait!r} is appended to or removed from here and set as a whole by "
        f"{wholes[trait]}; use one of both" + ("" if trait in removed else ", or give the trait `merge: union`")
        for trait in sorted(wholes.keys() & items.keys())
        if trait not in united or trait in removed
    ]


def _written(definitions: Mapping[str, AnyDefinition]) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """Trait to the key of a definition that sets it as a whole, and of one that treats it by item; what is removed
    from."""
    wholes: dict[str, str] = {}
    items: dict[str, str] = {}
    removed: set[str] = set()
    for key, definition in sorted(definitions.items()):
        for action, config in _changes(definition):
            wholes |= dict.fromkeys(_named(config, _WHOLE.get(action, ())), key)
            items |= dict.fromkeys(_named(config, _BY_ITEM.get(action, ())), key)
            removed |= set(_named(config, ("remove",))) if action in _BY_ITEM else set()
    return wholes, items, removed


def _changes(definition: AnyDefinition) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Each action of it, with its settings; a mapping is one."""
    match definition:
        case ProfileMapping(enabled=True):
            yield "map-to-profile", vars(definition)
        case Workflow(nodes=nodes, draft=False):
            for node in nodes.values():
                yield node.action, node.config


def _named(config: Mapping[str, object], settings: tuple[str, ...]) -> Iterator[str]:
    for setting in settings:
        named = config.get(setting)
        if isinstance(named, str):
            yield named
        elif isinstance(named, Mapping):
            yield from map(str, named)
