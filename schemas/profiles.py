"""Jobs about profiles, and what leaves Headwater: profile changes and deliveries (both are public contracts)."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec


class MergeJob(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """These profiles are one person, and why. `profiles` starts with the one believed to survive."""

    profiles: list[str]
    #: "identifier" (an identification point found one value on two profiles), "workflow" (merge by a trait) or
    #: "operator".
    cause: str
    #: `part`: the other way, the first profile is no part of the one that it was merged into. `erase`: nothing is to be
    #: kept of the person whose the first profile is.
    act: Literal["join", "part", "erase"] = "join"
    #: Which namespace tied them together.
    namespace: str
    #: Merge by a trait: the first profile claims this value; whoever has it already is the same person.
    value: str | None = None
    #: The unique namespace in which the event contradicts that they are one: nothing is merged, the conflict is kept
    #: for people to see.
    contradicted: str = ""
    #: Whoever showed the identifier had checked who it is, now and when it was linked.
    verified: bool = False
    #: The id of the event that showed it.
    event: str
    #: Of a replay without outbound effects.
    quiet: bool = False


class Send(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One "send to destination" of a workflow run. `id` is the same however often it is repeated."""

    id: str
    destination: str
    event_type: str
    properties: dict[str, Any] = {}
    #: The config revision of the workflow that sent it: the destination is known from there on.
    revision: int = 0


class SegmentationJob(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A profile whose state changed: what, and by what."""

    profile: str
    #: What changed: "counters", "traits.<name>", "totals.<name>", "segments.<key>", "merged", "erased".
    changed: list[str] = []
    sends: list[Send] = []
    #: Profiles that were merged into this one.
    absorbed: list[str] = []
    #: Nothing happened: time has passed, or definitions have changed. Only a membership that changes is said.
    silent: bool = False
    #: The definitions have changed: it is no news who is in a segment now.
    back_fill: bool = False
    #: The config revision that it is to be judged by, at least.
    revision: int = 0
    #: Of a replay without outbound effects.
    quiet: bool = False
    #: How many emissions in a row led here.
    hops: int = 0


class Visits(msgspec.Struct, gc=False):
    """How many sessions somebody had, and when the first and the last of them began."""

    count: int
    first_at: datetime
    last_at: datetime


class ProfileChange(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A profile after a change. Versions of one profile only ever grow; keep the highest you have seen."""

    profile: str
    version: int
    at: datetime
    changed: list[str] = []
    traits: dict[str, Any] = {}
    #: Traits that leave through no destination that does not ask for them.
    private: dict[str, Any] = {}
    #: Consent to whether it is given, of all that are defined.
    consents: dict[str, bool] = {}
    #: Sums that workflows keep (exact decimals).
    totals: dict[str, Decimal] = {}
    #: How often the profile sent each event type.
    counters: dict[str, int] = {}
    #: Window to how many events it counts.
    windows: dict[str, int] = {}
    #: Where conditions look at it: how many visits (sessions) there were, and when the first and the last began.
    visits: Visits | None = None
    segments: list[str] = []
    entered: list[str] = []
    left: list[str] = []
    absorbed: list[str] = []
    #: Set on the last change of a profile that became part of another: drop it, follow this one.
    merged_into: str | None = None
    #: The person was erased: forget everything that was said of this profile before.
    erased: bool = False
    sends: list[Send] = []
    #: Of a merged profile for which something was sent: who its survivor is then, of the version that was said last.
    survivor: "ProfileChange | None" = None
    #: Brought about by a replay alone: destinations are not told.
    quiet: bool = False
    #: Brought about by definitions that are new: no event says who was in a segment from its beginning.
    back_fill: bool = False
    #: The config revision that it was judged by; destinations are told by that one or a later one.
    revision: int = 0
    #: How many emissions in a row led here.
    hops: int = 0


class Delivery(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What one destination is owed. `id` is the idempotency key: stable across retries and repeats."""

    id: str
    destination: str
    profile: str
    version: int
    body: dict[str, Any]
    #: Why: a profile changed, a workflow sent it, or an event came.
    cause: Literal["change", "send", "event"] = "change"
    #: There is no such profile any more: it became part of another, or was erased.
    gone: bool = False
    #: Of which one it became part.
    merged_into: str | None = None
    #: When an operator had it sent once more (seconds since 1970): the id stays the same.
    again: int = 0
