"""Which segments a profile belongs to. Membership has an origin: the segment's own condition, or a workflow."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from schemas.profiles import Visits
from workflows.commands import SaidBy
from workflows.conditions import Condition, Context

MembershipOrigin = Literal["rule"] | SaidBy
#: (segment, origin): a profile may be in a segment for several reasons.
Memberships = frozenset[tuple[str, MembershipOrigin]]


NOTHING_SAID: Mapping[str, bool] = {}
NOTHING_COUNTED: Mapping[str, int] = {}


class CompiledSegment:
    """A segment and its compiled condition, if it has one."""

    def __init__(self, key: str, condition: Condition | None) -> None:
        self.key, self.condition = key, condition


def memberships(segments: Iterable[CompiledSegment], before: Memberships, context: Context) -> Memberships:
    """The memberships after: conditions evaluated anew, what workflows said as it is, undefined segments empty."""
    known = {segment.key: segment for segment in segments}
    kept = {(key, origin) for key, origin in before if origin != "rule" and key in known}
    holding: set[tuple[str, MembershipOrigin]] = {
        (key, "rule")
        for key, segment in known.items()
        if segment.condition is not None and segment.condition.holds(context)
    }
    return frozenset(kept | holding)


def profile_variables(
    profile: str,
    traits: Mapping[str, Any],
    totals: Mapping[str, Any],
    counters: Mapping[str, int],
    segments: Iterable[str] = (),
    consents: Mapping[str, bool] = NOTHING_SAID,
    windows: Mapping[str, int] = NOTHING_COUNTED,
    visits: Visits | None = None,
) -> dict[str, Any]:
    """The variable `profile` of conditions: id, traits, totals, counters, segments, consents, windows, visits."""
    return {
        "id": profile,
        "traits": dict(traits),
        "totals": {name: float(total) for name, total in totals.items()},
        "counters": dict(counters),
        "segments": sorted(segments),
        "consents": dict(consents),
        "windows": dict(windows),
        "visits": msgspec.structs.asdict(visits) if visits else {},
    }
