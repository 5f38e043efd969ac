"""W7: every stage dies once at every named place of the runner, just before and just after each thing it does."""

import random
import time
from dataclasses import dataclass, field

from tests.faults.cluster import Cluster
from tests.faults.row import Row
from tests.faults.trial import Trial

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "segment", "deliver")
DOES = ("decode", "lock", "step", "insert", "copy", "checkpoint", "commit", "produce", "report", "acknowledge")
PLACES = tuple(f"{when}-{what}" for what in DOES for when in ("before", "after"))
#: Who never comes by a place: these write nothing to PostgreSQL but their position, or never by COPY.
NEVER = {"insert": ("route", "deliver"), "copy": tuple({*STAGES} - {"persist", "run-workflows"})}
#: Long: all stages before one die at the same time, and it waits for what they put out.
GIVEN_UP_AFTER_S = 90.0
DIED = 86


@dataclass
class Rounds:
    """One stage's way through its places: dead at one, it is started again with the next."""

    stage: str
    left: list[str]
    chance: random.Random
    place: str = ""
    since: float = 0.0
    died_at: list[str] = field(default_factory=list)
    passed_by: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)

    def go_on(self, cluster: Cluster) -> bool:
        """See whether it died; whether there is more to do."""
        child = cluster.children[self.stage]
        if child.running and time.monotonic() - self.since < GIVEN_UP_AFTER_S and self.place:
            return True
        if self.place and not child.running:
            code = child.wait(1)
            self.died_at.append(self.place)
            if code != DIED:
                self.crashed.append(f"{self.stage} ended with {code} before {self.place}")
        elif self.place:
            self.passed_by.append(self.place)
        if child.running:
            cluster.stop(self.stage)
        self.since, self.place = time.monotonic(), self.left.pop() if self.left else ""
        if self.place:
            cluster.start(self.stage, HEADWATER_FAILPOINT=f"{self.place}:{self.chance.randint(2, 6)}")
        else:
            cluster.start_again(self.stage)
        return bool(self.place)


def run(trial: Trial) -> Row:
    row = trial.row
    chance = trial.chance()
    with trial.cluster(session_timeout_s=3) as cluster:
        cluster.start_all()
        cluster.load(trial.seed, rate=400)
        time.sleep(3)
        # In another order for each stage, so that all meet in different places.
        rounds = [
            Rounds(stage, chance.sample(_places(stage), trial.times(len(_places(stage)), 3)), chance)
            for stage in STAGES
        ]
        going = rounds
        while going:
            going = [one for one in going if one.go_on(cluster)]
            time.sleep(0.1)
        row.faults = sum(len(one.died_at) for one in rounds)
        for one in rounds:
            for what in one.crashed:
                row.violate("died", what)
            row.require(not one.passed_by, f"{one.stage} never came by {one.passed_by}")
        return trial.conclude(row, cluster)


def _places(stage: str) -> list[str]:
    return [place for place in PLACES if stage not in NEVER.get(place.partition("-")[2], ())]
