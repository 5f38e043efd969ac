"""Destinations of other people's making. This and `schemas.profiles` are all that a package needs to import; it names
its class under the entry point `headwater.destinations`."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from processors.connectors.outside import Reveal
from processors.runner.failures import Poison, Unavailable, is_cancelled
from schemas.definitions.outbound import Destination
from schemas.profiles import Delivery

log = logging.getLogger("headwater.dispatch")
C = TypeVar("C", bound=BaseModel)


class Config(BaseModel):
    """Base of a plug-in's settings. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Refused(Exception):
    """One of the deliveries is refused for good. Raised for several, they are tried in halves until it is found."""


class DestinationPlugin(ABC, Generic[C]):
    """Brings deliveries somewhere. One instance serves all lanes of a dispatcher."""

    #: The destination's `type`.
    name: ClassVar[str]
    #: What stands in its `config`.
    Config: ClassVar[type[BaseModel]] = Config

    @abstractmethod
    async def deliver(self, deliveries: Sequence[Delivery], config: C, secrets: Mapping[str, str]) -> None:
        """Return when all were taken: each profile's in their order, at least once; ids stay the same. Raise Refused
        for what will never be taken; whatever else is raised has all of them tried again, later."""


def load_plugins() -> Mapping[str, DestinationPlugin[Any]]:
    """Those of installed packages, by name. Raises ValueError where two have one name, or that of a type of ours."""
    found: dict[str, DestinationPlugin[Any]] = {}
    for point in entry_points(group="headwater.destinations"):
        plugin = point.load()()
        if plugin.name in found or plugin.name in ("webhook", "postgresql", "kafka"):
            raise ValueError(f"the destination type {plugin.name!r} of {point.value} is there already")
        found[plugin.name] = plugin
    return found


def problem(destination: Destination, plugins: Mapping[str, DestinationPlugin[Any]]) -> str | None:
    """What is wrong with a destination of a plug-in's type, for whoever wrote it."""
    plugin = plugins.get(destination.type)
    if plugin is None:
        return f"there is no destination type {destination.type!r} (is its package installed?)"
    try:
        plugin.Config.model_validate(destination.config)
    except ValidationError as error:
        first = error.errors()[0]
        return f"config.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


class PluginOutlet:
    """A plug-in in the place of a connector of ours."""

    def __init__(
        self, plugin: DestinationPlugin[Any], destination: Callable[[], Destination | None], reveal: Reveal
    ) -> None:
        self._plugin, self._destination, self._reveal = plugin, destination, reveal

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """As the plug-in does. Raises Poison, Unavailable."""
        destination = self._destination()
        if destination is None:
            raise Unavailable("destination removed, paused or off")
        config = self._plugin.Config.model_validate(destination.config)
        secrets = {name: self._reveal(secret) for name, secret in destination.secrets.items()}
        try:
            await self._plugin.deliver(deliveries, config, secrets)
        except Refused as error:
            raise Poison("refused_by_destination") from error
        # Other people's code: whatever it raises means that it could not, and never ends the worker.
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            log.warning("destination %s: %s", destination.id, type(error).__name__)
            raise Unavailable("destination plug-in") from error
