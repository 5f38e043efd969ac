"""`headwater destination`: how destinations stand, holding one back, letting it go on, sending again."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

import msgspec

from deploy.definitions import Change, in_force, plain
from deploy.installation import publish_definitions
from deploy.kafka import KafkaAdmin, client_config, kafka_admin
from deploy.operations.lag import positions
from deploy.operations.status import read_status
from deploy.operations.versions import change
from deploy.records import read
from deploy.settings import Settings
from deploy.stages import DISPATCH
from processors.runner.publisher import Publisher
from processors.storage.database import Connection
from schemas.codecs import Message
from schemas.definitions.outbound import Pause
from schemas.profiles import Delivery
from schemas.replays import REVISION_HEADER
from schemas.topics import destination_topic

PORTION = 1000
_decode = msgspec.json.Decoder(Delivery).decode


class DestinationStatus(msgspec.Struct):
    """One destination. `state`: on, paused, off (not enabled), or topic (consumers keep positions of their own)."""

    id: str
    type: str
    state: str
    #: Deliveries that wait, and seconds for which the oldest of them has.
    waiting: int = 0
    oldest_s: float | None = None
    dead_letters: int = 0
    #: Tries that failed, by cause, so far.
    retries: Mapping[str, int] = {}


async def destination_status(connection: Connection, admin: KafkaAdmin) -> list[DestinationStatus]:
    """Every destination."""
    definitions = await in_force(connection)
    stages = {stage.stage: stage for stage in (await read_status(connection, admin)).stages}
    found = []
    for id, one in sorted(definitions.destinations.items()):
        state = "on" if one.is_dispatched else "topic"
        state = "paused" if id in definitions.paused else state if one.enabled else "off"
        status = DestinationStatus(id, one.type, state)
        if (stage := stages.get(DISPATCH + id)) is not None:
            status.waiting, status.oldest_s = stage.lag, stage.oldest_s
            status.dead_letters, status.retries = stage.dead_letters, stage.retries
        found.append(status)
    return found


async def set_paused(settings: Settings, id: str, paused: bool) -> bool:
    """Hold a destination back, or let it go on; whether that is news. Raises LookupError."""
    pause, news = Pause(id=id), False

    async def make(connection: Connection, current: Mapping[str, dict[str, Any]]) -> Change:
        nonlocal news
        if f"destination/{id}" not in current:
            raise LookupError(f"there is no destination {id!r}")
        news = paused != (pause.key in current)
        return {pause.key: plain(pause) if paused else None} if news else {}

    await change(settings, make)
    return news


async def send_again(
    connection: Connection, settings: Settings, id: str, since: datetime, progress: Callable[[int], None]
) -> int:
    """Send what was delivered since then once more, under the same ids; how many deliveries. Raises LookupError."""
    definitions, admin = await in_force(connection), kafka_admin(settings)
    if id not in definitions.destinations or not definitions.destinations[id].is_dispatched:
        raise LookupError(f"there is no destination {id!r} that is dispatched")
    done = {
        partition: offset
        for (stage, _, partition), offset in (await positions(connection)).items()
        if stage == DISPATCH + id
    }
    revision = await publish_definitions(settings)
    return await asyncio.to_thread(_send_again, admin, settings, id, since, done, revision, progress)


def _send_again(
    admin: KafkaAdmin,
    settings: Settings,
    id: str,
    since: datetime,
    done: Mapping[int, int],
    revision: int,
    progress: Callable[[int], None],
) -> int:
    topic, again, sent = destination_topic(id), int(datetime.now().timestamp()), 0
    with closing(Publisher(client_config(settings), settings.topic_prefix)) as publisher:
        portion: list[Message] = []
        for record in read(admin, topic.name):
            is_done = (record.offset() or 0) < done.get(record.partition() or 0, 0)
            value = record.value()
            if value is None or not is_done or record.timestamp()[1] < since.timestamp() * 1000:
                continue
            message = topic.encode(msgspec.structs.replace(_decode(value), again=again))
            # To where it goes now, not to where it went: the dispatcher may not have heard of it yet.
            portion.append(msgspec.structs.replace(message, headers=[(REVISION_HEADER, str(revision).encode())]))
            if len(portion) == PORTION:
                sent += _publish(publisher, portion)
                portion = []
                progress(sent)
        return sent + _publish(publisher, portion)


def _publish(publisher: Publisher, portion: list[Message]) -> int:
    asyncio.run(publisher.publish(portion))
    return len(portion)
