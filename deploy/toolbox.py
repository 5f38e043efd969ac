"""The tools that steps ask for by parameter name, made as they are wanted."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import psycopg

from deploy.feed import DefinitionsFeed
from deploy.kafka import OTHER_KAFKA, client_config
from deploy.keys import identity_key, profile_ids
from deploy.sealing import Seals
from deploy.settings import Settings
from deploy.stages import BRIDGE, DISPATCH
from processors.connectors.archive import Archive
from processors.connectors.avro import AvroValues, RegistryPlace
from processors.connectors.geo import locator
from processors.connectors.guard import Guard
from processors.connectors.outlet import Delivers, Outlet
from processors.connectors.outside import pinned
from processors.connectors.plugin import PluginOutlet, load_plugins
from processors.connectors.table import TableWriter
from processors.connectors.topic import Cluster, TopicWriter
from processors.connectors.webhook import Webhook
from processors.runner.stage import Stage
from processors.storage.claims import Claims
from processors.storage.consents import Consents
from processors.storage.counts import SourceCounts
from processors.storage.database import LANE_OPTIONS, Connection
from processors.storage.erasures import Erasures
from processors.storage.events import Counters, Events
from processors.storage.failures import Failures
from processors.storage.identities import Identities
from processors.storage.measures import Measures
from processors.storage.memberships import SegmentMemberships, Versions
from processors.storage.merges import Merges
from processors.storage.parked import ParkedRuns
from processors.storage.partings import Partings
from processors.storage.people import People
from processors.storage.profiles import Profiles
from processors.storage.replayed import Replayed
from processors.storage.runs import Runs, Traits
from processors.storage.sends import SaidSends
from processors.storage.windows import Windows
from schemas.definitions.outbound import Destination
from workflows.replays import Replays


def toolbox(
    stage: Stage, feed: DefinitionsFeed, settings: Settings, client: aiohttp.ClientSession, guard: Guard
) -> Callable[[Connection | None], Mapping[str, Any]]:
    """Makes the tools that the stage's step names, on the connection of the lane that asks."""
    still: dict[str, Callable[[], Any]] = {
        "profile_ids": lambda: profile_ids(settings),
        "replays": lambda: Replays(identity_key(settings)),
        "now": lambda: lambda: datetime.now(UTC),
        "turn": asyncio.Lock,
        "locate": lambda: locator(settings.geo_database),
        "files": lambda: Archive(settings.archive()),
        "definition": lambda: lambda: feed.get().bridges.get(stage.name[len(BRIDGE) :]),
        "outlet": lambda: _outlet(stage.name[len(DISPATCH) :], feed, settings, client, guard),
    }
    made = {name: make() for name, make in still.items() if name in stage.needs}

    def tools(connection: Connection | None) -> Mapping[str, Any]:
        found = {**made, "definitions": feed.get()}
        if connection is not None:
            found |= {name: make(connection) for name, make in STORAGE.items() if name in stage.needs}
        return found

    return tools


def _outlet(id: str, feed: DefinitionsFeed, settings: Settings, client: aiohttp.ClientSession, guard: Guard) -> Outlet:
    reveal = Seals(settings).open

    def destination() -> Destination | None:
        definitions = feed.get()
        found = definitions.destinations.get(id)
        return found if found is not None and found.enabled and id not in definitions.paused else None

    def dsn_of(resource: str) -> str | None:
        known = feed.get().resources.get(resource)
        return reveal(known.production.dsn) if known is not None and known.production.dsn is not None else None

    async def open(dsn: str) -> psycopg.AsyncConnection[Any]:
        options: dict[str, Any] = {"autocommit": True, "application_name": "headwater", **LANE_OPTIONS}
        return await psycopg.AsyncConnection.connect(await pinned(dsn, guard), **options)

    def cluster_of(resource: str | None) -> Cluster | None:
        if resource is None:
            return Cluster(client_config(settings), foreign=False)
        known = feed.get().resources.get(resource)
        if known is None or known.production.servers is None:
            return None
        secrets: dict[str, str] = {name: reveal(secret) for name, secret in known.production.settings.items()}
        return Cluster({**OTHER_KAFKA, "bootstrap.servers": known.production.servers, **secrets}, foreign=True)

    def registry_of(resource: str) -> RegistryPlace | None:
        known = feed.get().resources.get(resource)
        if known is None or known.production.url is None:
            return None
        headers = {name: reveal(secret) for name, secret in known.production.headers.items()}
        return RegistryPlace(str(known.production.url), headers)

    by_type: dict[str, Delivers] = {
        "webhook": Webhook(destination, client, reveal),
        "postgresql": TableWriter(destination, dsn_of, open),
        "kafka": TopicWriter(
            destination, cluster_of, guard.resolve, AvroValues(client, registry_of), settings.topic_prefix
        ),
        **{name: PluginOutlet(plugin, destination, reveal) for name, plugin in load_plugins().items()},
    }
    return Outlet(destination, by_type)


#: Storage that steps ask for by parameter name.
STORAGE: Mapping[str, Callable[[Connection], Any]] = {
    "counts": SourceCounts,
    "replayed": Replayed,
    "identities": Identities,
    "consents": Consents,
    "profiles": Profiles,
    "recorded": Events,
    "counters": Counters,
    "finished": Runs,
    "traits": Traits,
    "parked": ParkedRuns,
    "claims": Claims,
    "merges": Merges,
    "partings": Partings,
    "erasures": Erasures,
    "members": SegmentMemberships,
    "people": People,
    "versions": Versions,
    "windows": Windows,
    "measures": Measures,
    "sends": SaidSends,
    "failures": Failures,
}
