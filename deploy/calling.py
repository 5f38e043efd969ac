"""What makes the calls that workflow runs wait for: of resources, and of our own profiles."""

from collections.abc import Mapping
from typing import Any

from deploy.feed import DefinitionsFeed
from deploy.keys import profile_ids
from deploy.settings import Settings
from processors.connectors.outside import Outside
from processors.runner.caller import Caller
from processors.runner.failures import Later
from processors.runner.publisher import Publisher
from processors.storage.calls import OutsideCall
from processors.storage.database import connector
from processors.storage.lookups import PARALLEL_LOOK_UPS, look_up
from schemas.events import Answer
from workflows.waiting import ProfileCall


def caller(settings: Settings, feed: DefinitionsFeed, kafka: Mapping[str, Any], outside: Outside) -> Caller:
    """Makes calls beside the lanes of run-workflows, by the definitions in force."""
    connect = connector(settings.database_url, "headwater run-workflows caller")

    async def ask(call: OutsideCall) -> Answer | Later:
        definitions = feed.get()
        if not isinstance(call.call, ProfileCall):
            return await outside.ask(call.id, call.call, definitions.resources.get(call.resource))
        async with await connect() as connection:
            return await look_up(connection, call.call, definitions, profile_ids(settings))

    def limits() -> Mapping[str, int]:
        return {"": PARALLEL_LOOK_UPS, **{id: one.parallel for id, one in feed.get().resources.items()}}

    return Caller(connect, Publisher(kafka, settings.topic_prefix), ask, limits)
