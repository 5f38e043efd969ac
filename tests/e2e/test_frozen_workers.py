"""Workers stand still at every named place while others take over; then they go on, late. Commits lose their answer."""

import signal
from collections.abc import Iterator

import pytest

from tests.conftest import MakeInstallation
from tests.e2e.test_fail_points import FAILING, LIVING, points
from tests.e2e.test_workflows import Receiver
from tests.kit.installation import Installation
from tests.kit.numbered import DEFINITIONS, Load, require_calls, require_exact
from tests.kit.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, receiver: Receiver) -> Installation:
    """Where a worker of each stage always works."""
    definitions = DEFINITIONS.replace("URL", receiver.url)
    installation = make_shared_installation(definitions, partitions=4, forked=True, session_timeout_s=2)
    installation.start(*LIVING)
    return installation


@pytest.fixture(scope="module")
def load(shop: Installation) -> Load:
    return Load(shop, sessions=12)


#: What a worker says where an answer of PostgreSQL is lost: of one lane's batch, or of several lanes' together.
LOST = "postgresql unavailable, try 2", "not together with others: OperationalError"


def require_done(shop: Installation, load: Load, receiver: Receiver) -> None:
    """When nothing is left to do, everything is as it must be."""
    shop.wait_through()
    require_exact(shop, load)
    require_calls(load, receiver.taken())


def start(shop: Installation, points: dict[str, list[str]]) -> list[str]:
    """Start a worker for each of these fail points of each of these stages; their names."""
    names = []
    for stage, theirs in points.items():
        for point in theirs:
            names.append(f"{stage} {point}")
            shop.start(stage, name=names[-1], HEADWATER_FAILPOINT=point)
    return names


def send_some(load: Load) -> None:
    """A few events of each session."""
    for _ in range(5):
        load.send(12)


def end(shop: Installation, names: list[str]) -> None:
    for name in names:
        shop.kill(name)
    assert all(shop.children[stage].running for stage in LIVING), shop.tell()


def test_a_commit_whose_answer_is_lost_took_effect_once_or_is_done_again(
    shop: Installation, load: Load, receiver: Receiver
) -> None:
    places = ["before-commit:2:lose", "after-commit:2:lose"]
    names = start(shop, dict.fromkeys(FAILING, places))

    def waiting() -> list[str]:
        load.send()
        return [name for name in names if not any(lost in shop.children[name].output() for lost in LOST)]

    until(lambda: not waiting(), 150, lambda: f"not reached: {waiting()}; {shop.tell()}")
    require_done(shop, load, receiver)
    end(shop, names)


@pytest.mark.parametrize("stage", FAILING)
def test_who_was_frozen_at_any_place_while_others_took_over_changes_nothing_when_it_goes_on(
    shop: Installation, load: Load, receiver: Receiver, stage: str
) -> None:
    # After one place is before the next.
    names = start(shop, {stage: [point for point in points(stage, "stop") if point.startswith("before")]})

    def waiting() -> list[str]:
        load.send()
        return [name for name in names if not shop.children[name].frozen]

    until(lambda: not waiting(), 200, lambda: f"not reached: {waiting()}; {shop.tell()}")
    shop.wait_joined(*FAILING)  # without them
    require_done(shop, load, receiver)
    for name in names:
        shop.children[name].signal(signal.SIGCONT)
    shop.wait_joined(*FAILING)  # with them, but those that ended
    send_some(load)
    require_done(shop, load, receiver)
    end(shop, names)
