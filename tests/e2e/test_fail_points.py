"""Processes die at every named place of runner and door, on a real Kafka and PostgreSQL: all stays exact."""

import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from deploy.fail_points import DIED, FAIL_POINTS
from tests.conftest import MakeInstallation
from tests.e2e.test_workflows import Receiver
from tests.kit.installation import Installation
from tests.kit.numbered import DEFINITIONS, Load, lap, require_calls, require_exact
from tests.kit.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: One worker of each stage never dies: so there is always something to do for those that do.
LIVING = (
    "validate",
    "identify",
    "persist",
    "route",
    "run-workflows",
    "segment",
    "deliver",
    "dispatch-hook",
    "record-failures",
)
#: Beside it two workers of these stages die at one place after another.
FAILING = ("persist", "run-workflows", "segment", "dispatch-hook")
#: The passage at which a process dies: some places it also passes when it sends its last outputs again after a start,
#: and it is to be a new batch's.
PASSAGE = 2
#: Places that a process never passes, and why.
NEVER = {
    "segment": {"copy": "it writes by INSERT"},
    "dispatch-hook": {
        "insert": "its effects are calls: it writes nothing to PostgreSQL but its position",
        "copy": "it writes nothing to PostgreSQL but its position",
        "report": "its effects are calls: only its dead letters are messages",
    },
}
DOOR = ("door-produce", "door-report")


def points(stage: str, how: str) -> list[str]:
    """The places that a process of this stage passes, as HEADWATER_FAILPOINT names them."""
    found = []
    for point in FAIL_POINTS:
        _, _, place = point.partition("-")
        if (place in DOOR) == (stage == "ingest") and place not in NEVER.get(stage, {}):
            found.append(f"{point}:{PASSAGE}:{how}")
    return found


class Client(threading.Thread):
    """Sends a session's events one after another, each until it gets a 2xx: as a good client does."""

    def __init__(self, shop: Installation, session: str) -> None:
        super().__init__()
        self._url, self.session = shop.url, session
        self.taken = self.failed = 0
        self.enough = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            while not self.enough.wait(0.05):
                while not self._is_taken(client):
                    self.failed += 1
                    self.enough.wait(0.05)
                self.taken += 1

    def _is_taken(self, client: httpx.Client) -> bool:
        try:
            return client.post("/track", json=lap("web", self.session, self.taken + 1)).status_code == 200
        except httpx.TransportError:
            return False


class Deaths:
    """Processes, each of which dies at one place after another and is started again at once; in the end, for good."""

    def __init__(self, shop: Installation) -> None:
        self._shop = shop
        #: Process to its stage and the places that are left to it.
        self._left = {"ingest": ("ingest", iter(points("ingest", "die")))}
        for stage in FAILING:
            for number in range(2):
                self._left[f"{stage}-{number}"] = stage, iter(points(stage, "die")[number::2])
        #: Process to the place where it is to die next.
        self.waited: dict[str, str] = {}
        for process in self._left:
            self._start(process)

    def _start(self, process: str) -> None:
        stage, left = self._left[process]
        point = next(left, "")
        if point:
            self.waited[process] = point
        else:
            del self.waited[process]
        self._shop.start(stage, name=process, HEADWATER_FAILPOINT=point)

    def over(self) -> bool:
        """Start again who has died; whether all have died everywhere."""
        for process, point in list(self.waited.items()):
            child = self._shop.children[process]
            if not child.running:
                assert child.wait(0) == DIED, (process, point, self._shop.tell())
                self._start(process)
        return not self.waited


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, receiver: Receiver) -> Installation:
    installation = make_shared_installation(
        DEFINITIONS.replace("URL", receiver.url), partitions=4, forked=True, session_timeout_s=2
    )
    installation.start(*LIVING)
    return installation


@pytest.fixture(scope="module")
def clients(shop: Installation) -> list[Client]:
    return [Client(shop, f"visit-{number}") for number in range(3)]


@pytest.fixture(scope="module")
def load(shop: Installation, clients: list[Client]) -> Load:
    """What was sent, all of it processed, while everybody died everywhere."""
    load = Load(shop, sessions=12)
    deaths = Deaths(shop)
    for client in clients:
        client.start()

    def over() -> bool:
        load.send()
        return deaths.over()

    try:
        until(over, 300, lambda: f"not reached: {deaths.waited}; {shop.tell()}")
        shop.wait_ready()
    finally:
        for client in clients:
            client.enough.set()
        for client in clients:
            client.join()
    load.counts |= {("web", client.session): client.taken for client in clients}
    shop.wait_through()
    return load


def test_whoever_dies_wherever_everything_is_done_once_and_in_order(shop: Installation, load: Load) -> None:
    require_exact(shop, load)
    assert all(child.running for child in shop.children.values()), shop.tell()


def test_whoever_dies_wherever_a_webhook_is_called_in_order_under_one_key_an_event(
    load: Load, receiver: Receiver
) -> None:
    require_calls(load, receiver.taken())


def test_what_the_door_took_before_it_died_is_recorded_once_however_often_it_was_sent(
    shop: Installation, load: Load, clients: list[Client]
) -> None:
    written = Counter(
        event["id"] for body in shop.bodies("tracks") for event in body["events"] if body["source"]["id"] == "web"
    )
    assert len(written) == sum(client.taken for client in clients)
    numbers = shop.accounting()["web"]
    assert (numbers["recorded"], numbers["duplicates"]) == (len(written), written.total() - len(written))
    # At the last two places the record was in Kafka and the answer was not out.
    assert numbers["duplicates"] >= 1
