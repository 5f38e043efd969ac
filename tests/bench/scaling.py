"""What an event costs as workers, partitions and profiles grow: CPU of all stages, PostgreSQL and Kafka together."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from random import Random

import psycopg

from tests.bench.rig import Rig
from tests.bench.stages import FEWEST, STAGES, fill_tracks, run_stage
from tests.bench.web import Web
from tests.kit.installation import IDENTITY_KEY
from workflows.identity import ProfileIds

#: The archive gathers for ten seconds; merge and deliver have so little to do that they are through too soon.
MEASURED = tuple(stage for stage in STAGES if stage not in ("archive", "merge", "deliver"))


def cost_an_event(
    rig: Rig, events: int, seed: int, tell: Callable[[str], None], workers: int = 1, visitors: int = 50_000
) -> float:
    """Microseconds of CPU an event, over all stages, each run alone with so many workers, from when all have joined.

    `tell` hears which stages are not in it: a fast one may be through before its last worker has joined.
    """
    fill_tracks(rig, Web(seed, visitors=visitors), events)
    total = 0.0
    for stage in MEASURED:
        figure = run_stage(rig, stage, workers, partial(_joined, rig, stage, workers))
        if figure is not None:
            total += figure.cpu_us * rig.positions(stage) / events
        elif rig.positions(stage) >= FEWEST:
            tell(f"scaling: without {stage}, which was through too soon")
    return total


def _joined(rig: Rig, stage: str, workers: int) -> bool:
    return rig.members([stage]) == {stage: workers}


def add_profiles(rig: Rig, count: int) -> None:
    """Profiles of the web mix's visitors, with counters, traits, versions and identifiers, as after a first visit. They
    lie in no order: who comes often is not stored side by side."""
    ids, now = ProfileIds(IDENTITY_KEY.encode()), datetime(2026, 1, 1, tzinfo=UTC)
    profiles = [(visitor, ids.mint("client", f"visitor-{visitor}")) for visitor in range(count)]
    Random(count).shuffle(profiles)
    traits = '{"last_seen": ["2026-01-01", 1767225600000000, "e"], "last_type": ["page-view", 1767225600000000, "e"]}'
    tables = {
        "profiles (id, created_at)": lambda n, id: (id, now),
        "profile_counters (profile_id, type, count, first_at, last_at)": lambda n, id: (id, "page-view", 1, now, now),
        "profile_traits (profile_id, traits, totals)": lambda n, id: (id, traits, '{"events": 1}'),
        "profile_versions (profile_id, version)": lambda n, id: (id, 1),
        "identifiers (namespace, value, profile_id, source, event_id, linked_at)": lambda n, id: (
            *("user-id", f"user-{n}", id, "web", "e", now),
        ),
    }
    with psycopg.connect(rig.database_url, autocommit=True) as connection:
        for table, row in tables.items():
            with connection.cursor().copy(f"copy {table} from stdin".encode()) as copy:
                for number, id in profiles:
                    copy.write_row(row(number, id))
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
