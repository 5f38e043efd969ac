"""`headwater destination`: how destinations stand, holding one back, letting it go on, sending again."""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import msgspec

from deploy.definitions import Change, in_force, plain
from deploy.installation import publish_definitions
from deploy.kafka import KafkaAdmin, client_config, kafka_admin
from deploy.operations.lag import positions
from deploy.operations.status import read_status
from deploy.operations.versions import change
from deploy.operations.whose import is_id
from deploy.records import read
from deploy.settings import Settings
from deploy.stages import DISPATCH
from processors.runner.publisher import Publisher
from processors.storage.consents import Consents
from processors.storage.database import Connection
from processors.storage.erasures import Erasures
from processors.storage.profiles import Profiles
from schemas.definitions.outbound import Pause
from schemas.profiles import Delivery
from schemas.replays import REVISION_HEADER
from schemas.topics import destination_topic
from workflows.consent import holds
from workflows.definitions import Definitions

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


class SentAgain(msgspec.Struct):
    """How much is on its way again, and how much is not, of people who were erased or have withdrawn their consent."""

    deliveries: int = 0
    left_out: int = 0


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
) -> SentAgain:
    """Send what was delivered since then once more, under the same ids; not of people who were erased since, nor of
    those who have withdrawn a consent that the destination needs. Raises LookupError."""
    definitions, admin = await in_force(connection), kafka_admin(settings)
    if id not in definitions.destinations or not definitions.destinations[id].is_dispatched:
        raise LookupError(f"there is no destination {id!r} that is dispatched")
    done = {
        partition: offset
        for (stage, _, partition), offset in (await positions(connection)).items()
        if stage == DISPATCH + id
    }
    # To where it goes now, not to where it went: the dispatcher may not have heard of it yet.
    headers = [(REVISION_HEADER, str(await publish_definitions(settings)).encode())]
    topic, again, outcome = destination_topic(id), int(datetime.now().timestamp()), SentAgain()
    with (
        closing(_delivered(admin, topic.name, since, done)) as portions,
        closing(Publisher(client_config(settings), settings.topic_prefix)) as publisher,
    ):
        while portion := await asyncio.to_thread(next, portions, ()):
            kept = await _still_allowed(connection, definitions, id, portion)
            messages = [topic.encode(msgspec.structs.replace(delivery, again=again)) for delivery in kept]
            await publisher.publish([msgspec.structs.replace(message, headers=headers) for message in messages])
            outcome.deliveries += len(kept)
            outcome.left_out += len(portion) - len(kept)
            if len(portion) == PORTION:
                progress(outcome.deliveries)
    return outcome


def _delivered(
    admin: KafkaAdmin, topic: str, since: datetime, done: Mapping[int, int]
) -> Generator[list[tuple[Delivery, datetime]]]:
    """What the dispatcher is done with, and when it was written, in portions."""
    portion: list[tuple[Delivery, datetime]] = []
    for record in read(admin, topic):
        is_done = (record.offset() or 0) < done.get(record.partition() or 0, 0)
        value, at = record.value(), datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC)
        if value is None or not is_done or at < since:
            continue
        portion.append((_decode(value), at))
        if len(portion) == PORTION:
            yield portion
            portion = []
    yield portion


async def _still_allowed(
    connection: Connection, definitions: Definitions, id: str, portion: Sequence[tuple[Delivery, datetime]]
) -> list[Delivery]:
    """Those that the destination may have as things are now. That somebody is no more, it may always hear."""
    people = {one.profile for one, _ in portion if is_id(one.profile)}
    erased, there = await Erasures(connection).known(people), await Profiles(connection).there(people)
    needed, now = definitions.destinations[id].consents, datetime.now(UTC)
    said = await Consents(connection).load(there) if needed else {}

    def may_have(delivery: Delivery, at: datetime) -> bool:
        profile = delivery.profile
        if delivery.gone:
            return True
        if profile in erased and (profile not in there or at <= erased[profile]):
            return False
        if profile not in there and delivery.cause == "event":  # of nobody who is known: nobody can have withdrawn
            return True
        return all(holds(consent, said.get(profile, {}), now, definitions) for consent in needed)

    return [delivery for delivery, at in portion if may_have(delivery, at)]
