"""One door for all hostile input: what one test does to it, the others would feel."""

from collections.abc import Iterator

import pytest

from tests.e2e.hostile.slow import Slow
from tests.kit.definitions import SHOP
from tests.kit.installation import Installation
from tests.kit.services import Services
from tests.kit.wire import Wire

DEFINITIONS = (
    SHOP
    + """
---
{kind: source, id: switched-off, enabled: false}
---
{kind: source, id: kafka-only, bridges: [kafka]}
---
{kind: source, id: own-profiles, client_profile_ids: true}
---
{kind: source, id: browsers, enrich: [client]}
---
{kind: source, id: pages, origins: ["https://shop.example"]}
---
{kind: source, id: locked, requires_key: true}
---
{kind: source, id: slowly, rate: {per_second: 0.01, burst: 2}}
---
{kind: source, id: slowly-each, rate_per_address: {per_second: 0.01, burst: 2}}
---
{kind: consent, id: marketing}
---
{kind: source, id: consenting, requires_consent: [marketing]}
---
{kind: redirect, id: out, source: shop, url: "https://shop.example/sale", event_type: link-clicked}
"""
)


@pytest.fixture(scope="package")
def door(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(services, tmp_path_factory.mktemp("hostile"), DEFINITIONS, forked=False)
    try:
        installation.start_door()
        yield installation
    finally:
        installation.close()


@pytest.fixture(scope="package", autouse=True)
def slow(door: Installation) -> Iterator[Slow]:
    """Connections that take all the time they are given, while everything else goes on."""
    started = Slow(door.url)
    yield started
    started.close()


@pytest.fixture
def wire(door: Installation) -> Iterator[Wire]:
    """A connection of a test's own."""
    opened = Wire(door.url)
    yield opened
    opened.close()
