"""How fast a new segment is evaluated for everybody who is known."""

import time

from tests.bench.definitions import WEB
from tests.bench.rig import Rig
from tests.bench.scaling import add_profiles

NEW = """
---
kind: segment
id: active
condition: profile.counters["page-view"] > 0 && profile.totals.events > 0.0
"""


def backfill(rig: Rig, profiles: int) -> float:
    """Profiles/s, from the moment when the segment is applied until every profile is in it."""
    add_profiles(rig, profiles)
    rig.start("segment")
    rig.wait_joined("segment")
    started = time.monotonic()
    rig.apply(WEB + NEW)
    rig.wait_through(600, ["segment"])
    took = time.monotonic() - started
    members = rig.one("select count(*) from memberships where segment = 'active'")
    assert members == profiles, f"{members} of {profiles} profiles are in the segment"
    return profiles / took
