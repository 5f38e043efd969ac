"""For all tests: generated examples are the same every time, and none fails for being slow. Slow tests come first."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.kit.installation import Installation
from tests.kit.services import Services

settings.register_profile("headwater", derandomize=True, deadline=None, database=None)
settings.load_profile("headwater")

#: Makes an installation with these definitions (YAML), closed at the end of the fixture's scope.
MakeInstallation = Callable[..., Installation]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that the processes that share the files out end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A Kafka and a PostgreSQL for the whole session. Tests that break such a thing start their own."""
    with Services(tmp_path_factory.mktemp("services")).running() as started:
        yield started


def _maker(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeInstallation]:
    made: list[Installation] = []

    def make(definitions: str = "", **options: Any) -> Installation:
        made.append(Installation(services, tmp_path_factory.mktemp("installation"), definitions, **options))
        return made[-1]

    yield make
    for installation in made:
        installation.close()


@pytest.fixture
def make_installation(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeInstallation]:
    """Installations of a test's own."""
    yield from _maker(services, tmp_path_factory)


@pytest.fixture(scope="module")
def make_shared_installation(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeInstallation]:
    """Installations that the tests of a module share, each with sources of its own."""
    yield from _maker(services, tmp_path_factory)
