"""Judgement: one payload on its way to events, each valid or rejected with reasons."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from schemas.definitions.inbound import Source
from schemas.events import EMPTY_OBJECT, TrackedPayload, ValidEvent
from schemas.failures import NOT_KEPT, Reason, RejectedEvent
from schemas.limits import MAX_CLOCK_AHEAD_S, MAX_CLOCK_OFF_S, MAX_HOPS
from schemas.origin import Origin, event_id_of
from schemas.payload import TrackerEvent, TrackerPayload, context_of, read_event
from schemas.replays import Replay
from workflows.clients import with_client
from workflows.definitions import Definitions
from workflows.enriching import Locate, enriched
from workflows.fingerprint import fingerprint
from workflows.identity import ProfileIds
from workflows.reshaping import reshape
from workflows.sources import source_reasons

_AHEAD = timedelta(seconds=MAX_CLOCK_AHEAD_S)
_MOST_OFF = timedelta(seconds=MAX_CLOCK_OFF_S)
#: What stands in an archived payload where an event was whose person was erased.
ERASED = b"null"


class Judgement:
    """One payload on its way to events."""

    def __init__(
        self,
        tracked: TrackedPayload,
        replay: Replay | None,
        payload: TrackerPayload,
        definitions: Definitions,
        profile_ids: ProfileIds,
        locate: Locate,
    ) -> None:
        self._tracked, self._payload, self._locate = tracked, payload, locate
        #: What is kept of it where it is rejected.
        self._kept = payload
        self._attempt = replay.attempt if replay else 0
        self._is_archived = replay is not None and replay.kind == "archive"
        self._first_ordinal = max(replay.origin.ordinal, 0) if replay else 0
        self._definitions, self._profile_ids = definitions, profile_ids
        self._source = definitions.sources.get(payload.source or "") or Source(id="unknown", enabled=False)
        if tracked.client and "client" in self._source.enrich:
            self._payload = msgspec.structs.replace(payload, context=with_client(payload.context, tracked.client))
            if "anonymous-ip" not in self._source.enrich:  # else the whole address is in `tracks` and archive only
                self._kept = self._payload
        # The payload's bridge is not checked for what workflows emit: their source let the first event in.
        bridge = None if tracked.bridge == "workflow" else tracked.bridge
        #: The same for all events of a session.
        self._profile = self._profile_of("") if payload.session is not None else None
        self._reasons = payload.reasons + source_reasons(payload.source, definitions, bridge)
        if tracked.hops > MAX_HOPS:
            self._reasons.append(Reason("loop_detected", "", f"emitted by workflows {tracked.hops} times in a row"))

    def events(self) -> list[ValidEvent | RejectedEvent]:
        """One for each event, in order. Where an archived payload has none, its person was erased."""
        return [
            self.event(ordinal, raw)[0]
            for ordinal, raw in enumerate(self._payload.events, self._first_ordinal)
            if not (self._is_archived and bytes(raw) == ERASED)
        ]

    def event(self, ordinal: int, raw: msgspec.Raw) -> tuple[ValidEvent | RejectedEvent, str | None]:
        """What the event comes to, and the reshaping that it went through."""
        origin = Origin(self._tracked.partition, self._tracked.offset, ordinal)
        sent = read_event(raw)
        reasons = self._reasons + sent.reasons or self._schema_reasons(sent.type, sent.parsed_properties)
        if reasons:
            return self._rejected(origin, sent, raw, reasons), None
        valid = self._valid(origin, sent, raw)
        if not (candidates := self._definitions.reshapings.get(sent.type)):
            return valid, None
        made = reshape(valid, sent.parsed_properties, candidates)
        if made.by and not made.reasons:  # what comes out is checked as if it had been sent so
            made.reasons = self._schema_reasons(made.event.type, made.properties)
        return (self._rejected(origin, sent, raw, made.reasons) if made.reasons else made.event), made.by

    def _schema_reasons(self, type: str, properties: dict[str, Any]) -> list[Reason]:
        schema = self._definitions.schemas.get(type)
        return schema.reasons(properties) if schema else []

    def _valid(self, origin: Origin, event: TrackerEvent, raw: msgspec.Raw) -> ValidEvent:
        payload, received_at = self._payload, self._tracked.received_at
        occurred_at = self._by_our_clock(event.occurred_at or payload.timestamp) or received_at
        ahead = occurred_at > received_at + _AHEAD
        id = event.id or event_id_of(origin)
        context = context_of(payload, event)
        return ValidEvent(
            origin=origin,
            id=id,
            fingerprint=fingerprint(raw, payload.session),
            source=self._source.id,
            type=event.type,
            session=payload.session,
            profile=self._profile or self._profile_of(id),
            occurred_at=received_at if ahead else occurred_at,
            received_at=received_at,
            properties=event.properties,
            context=enriched(context, self._source.enrich, self._locate) if self._source.enrich else context,
            save=self._may_save(event),
            save_session=payload.save_session,
            keep=self._may_keep(event),
            time_corrected=ahead,
            hops=self._tracked.hops,
            revision=self._definitions.revision,
            quiet=self._tracked.quiet,
            attempt=self._attempt,
        )

    def _by_our_clock(self, time: datetime | None) -> datetime | None:
        """The client's clock may be off: by how much, `sent_at` says, unless that is so much that it is no clock."""
        if time is None or self._payload.sent_at is None:
            return time
        off = self._tracked.received_at - self._payload.sent_at
        try:
            return time + off if abs(off) <= _MOST_OFF else time
        except OverflowError:
            return time

    def _profile_of(self, event: str) -> str | None:
        payload, source = self._payload, self._source
        if payload.profile_less:
            return None
        return self._profile_ids.resolve(source.id, payload.session, payload.profile, event, source.client_profile_ids)

    def _may_save(self, event: TrackerEvent) -> bool:
        return event.save and self._payload.save_events and not self._source.ephemeral

    def _may_keep(self, event: TrackerEvent) -> bool:
        """Whether it may be kept as it came: nobody has looked at consents yet."""
        return self._may_save(event) and (self._source.keeps_raw or not self._source.requires_consent)

    def _rejected(self, origin: Origin, event: TrackerEvent, raw: msgspec.Raw, reasons: list[Reason]) -> RejectedEvent:
        return RejectedEvent(
            origin=origin,
            id=event.id or event_id_of(origin),
            source=self._payload.source or "",
            type=event.type,
            reasons=reasons,
            received_at=self._tracked.received_at,
            payload=_single(self._kept, raw) if self._may_keep(event) else msgspec.Raw(NOT_KEPT),
            revision=self._definitions.revision,
            attempt=self._attempt,
            hops=self._tracked.hops,
            quiet=self._tracked.quiet,
        )


def _single(payload: TrackerPayload, raw: msgspec.Raw) -> msgspec.Raw:
    """A payload that holds this one event: what to send again once it, or the definitions, are mended."""
    whole: dict[str, Any] = {
        name: {"id": id}
        for name, id in (("source", payload.source), ("session", payload.session), ("profile", payload.profile))
        if id is not None
    }
    if bytes(payload.context) != bytes(EMPTY_OBJECT):
        whole["context"] = payload.context
    if payload.profile_less:
        whole["profile_less"] = True
    if not payload.save_session:
        whole["options"] = {"saveSession": False}
    for name, time in (("sent_at", payload.sent_at), ("timestamp", payload.timestamp)):
        if time is not None:
            whole[name] = time
    return msgspec.Raw(msgspec.json.encode(whole | {"events": [raw]}))
