"""Private traits stay inside: what a workflow sends must not hold them, unless whoever gets it may have them. Pure."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from workflows.actions.data import ROOTS, FillTemplateConfig, HideConfig, MapValuesConfig, SetDataConfig
from workflows.actions.outside import HttpRequestConfig, QueryConfig, SendConfig
from workflows.conditions import Condition
from workflows.definitions import Definitions
from workflows.graph import Graph, conditions_in
from workflows.needs import needs_of
from workflows.templates import TextTemplate


def private_sent(definitions: Definitions) -> Iterator[str]:
    """Private traits that nodes send to destinations and resources that do not ask for them, one sentence each: as they
    are, or by way of `data`."""
    for id, graph in definitions.workflows.items():
        kept = _kept(graph, definitions.private_traits)
        for step in graph.steps:
            to = _recipient(step.config, definitions)
            if to is None:
                continue
            for trait in sorted(_seen(step.config, definitions.private_traits, kept)):
                yield (
                    f"workflow/{id}: node {step.name}: the trait {trait!r} is private, and "
                    f"{to} does not ask for private traits"
                )


def _recipient(config: BaseModel, definitions: Definitions) -> str | None:
    """Who gets what a node sends, where it may not have private traits."""
    if isinstance(config, SendConfig):
        destination = definitions.destinations.get(config.destination)
        return None if destination is None or destination.private else f"destination/{destination.id}"
    if isinstance(config, HttpRequestConfig | QueryConfig):
        resource = definitions.resources.get(config.resource)
        return None if resource is None or resource.private else f"resource/{resource.id}"
    return None


def _kept(graph: Graph, private: set[str]) -> dict[str, set[str]]:
    """What nodes keep as data, to the private traits that it may be made of."""
    found: dict[str, set[str]] = {}
    before = -1
    while (now := sum(map(len, found.values()))) != before:  # until no more comes by way of others
        before = now
        for step in graph.steps:
            for name, part in _keeps(step.config):
                found.setdefault(name, set()).update(_seen(part, private, found))
    return found


def _keeps(config: BaseModel) -> list[tuple[str, Any]]:
    if isinstance(config, SetDataConfig):
        return list(config.values.items())
    if isinstance(config, FillTemplateConfig | HideConfig | MapValuesConfig):
        return [(config.to, config)]
    return []


def _seen(part: Any, private: set[str], kept: dict[str, set[str]]) -> set[str]:
    """The private traits that expressions and texts in `part` may look at; all where that cannot be told."""
    found: set[str] = set()
    for condition in conditions_in(vars(part) if isinstance(part, BaseModel) else part):
        found |= _in_expression(condition, private, kept)
    for text in _texts(part):
        for path in TextTemplate(text, ROOTS).paths:
            root, _, rest = path.partition(".")
            found |= kept.get(rest.split(".")[0], set()) if root == "data" else _in_path(path, private)
    return found


def _texts(part: Any) -> list[str]:
    if isinstance(part, FillTemplateConfig):
        return [part.text]
    return [part.path] if isinstance(part, HttpRequestConfig) else []


def _in_path(path: str, private: set[str]) -> set[str]:
    names = path.split(".")
    if names[:2] == ["profile", "traits"]:
        return private & set(names[2:3]) if names[2:] else set(private)
    return set(private) if path == "profile" else set()


def _in_expression(condition: Condition, private: set[str], kept: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    if "profile" in condition.source:
        profile = needs_of(condition.source, ["profile"])["profile"]
        traits = profile.get("traits", {}) if profile is not None else None
        found |= private if traits is None else private & traits.keys()
    if "data" in condition.source:
        data = needs_of(condition.source, ["data"])["data"]
        for name in kept if data is None else data:
            found |= kept.get(name, set())
    return found
