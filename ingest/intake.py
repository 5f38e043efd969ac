"""From a request that may be taken to records in Kafka: the one way in, for whatever clients send."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ingest.access import Access
from ingest.numbers import Numbers
from ingest.refused import Refused
from ingest.replies import Reply
from ingest.request import Request
from ingest.service import Checked, Taken, check, taken
from ingest.sink import Sink, SinkUnavailable
from schemas.definitions.inbound import Source
from schemas.payload import TrackerPayload
from workflows.clients import noted
from workflows.definitions import Definitions
from workflows.identity import ProfileIds

#: What takes some milliseconds, where the JSON is as others write it: beside the loop, which others wait for.
LARGE_BYTES = 200_000

#: Who finds no place waits so long. A refusal costs as much as half an answer, and who is refused at once is back at
#: once: five times as many clients as there are places would halve what goes through.
PATIENCE_S = 0.5

#: What a path does with a request. Raises Refused.
Handler = Callable[[Request, "Intake", Definitions], Awaitable[Reply]]
#: A body, and the payload that was read in it.
Read = tuple[bytes, TrackerPayload]


class Intake:
    """`places` is how many requests may be checked or wait for Kafka; whoever still sends its body takes none.
    `first_partition` is what origins count the partitions of `tracks` from."""

    def __init__(
        self, sink: Sink, access: Access, profile_ids: ProfileIds, places: int, first_partition: int, numbers: Numbers
    ) -> None:
        self.access, self.hide = access, profile_ids.hide
        self._sink, self._profile_ids, self._numbers = sink, profile_ids, numbers
        self._first_partition, self._places = first_partition, places

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        return self._places <= 0

    async def wait_for_place(self) -> None:
        """For who finds it full. Raises Refused where it still is after a moment."""
        await asyncio.sleep(PATIENCE_S)
        self._require_place()

    def _require_place(self) -> None:
        if self._places <= 0:
            raise Refused(503, "overloaded", "too much is under way; send again with the same ids", 1)

    async def take(
        self, request: Request, source: Source, bridge: str, payloads: Sequence[Read], definitions: Definitions
    ) -> list[Taken]:
        """Write these payloads of the source, that came by this bridge; what became of each, once Kafka has them all.

        Raises Refused: nothing of it may be taken, or it is not certain that all of it was.
        """
        self.access.admit(request, source, bridge, definitions)
        size = sum(len(body) for body, _ in payloads)
        request.hold(size)  # a batch's context is with each of its payloads' events
        self._require_place()
        self._places -= 1
        try:
            if size <= LARGE_BYTES:
                checked = check_all(payloads, source, definitions)
            else:
                checked = await asyncio.to_thread(check_all, payloads, source, definitions)
            if source.is_limited:
                self.access.spend(request, source, sum(len(one.ids) for one in checked))
            if len(checked) == 1:
                return [await self._write(request, bridge, checked[0])]
            return await asyncio.gather(*(self._write(request, bridge, one) for one in checked))
        finally:
            self._places += 1

    async def _write(self, request: Request, bridge: str, checked: Checked) -> Taken:
        client = noted(request.address, request.header("user-agent") or None) if checked.notes_client else b""
        try:
            partition, offset = await self._sink.write(checked.key, checked.body, bridge, client)
        except SinkUnavailable as error:
            message = "not stored for certain; send again with the same ids"
            raise Refused(503, "kafka_unavailable", message, 1) from error
        found = taken(checked, self._first_partition + partition, offset, self._profile_ids)
        rejected = len(found.rejected)
        self._numbers.count(checked.payload.source or "", len(found.events) - rejected, rejected)
        return found


def check_all(payloads: Sequence[Read], source: Source, definitions: Definitions) -> list[Checked]:
    """What is to be said of each."""
    return [check(body, payload, source, definitions) for body, payload in payloads]


def none_acceptable(found: Sequence[Taken]) -> bool:
    """Whether every event was rejected: all is stored, as wrong."""
    return all(len(one.rejected) == len(one.events) for one in found)
