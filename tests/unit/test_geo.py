"""Where addresses are, read from a database file as MaxMind's are made."""

import logging
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from processors.connectors.geo import GeoError, locator

OSLO = {
    "country": {"iso_code": "NO", "names": {"en": "Norway"}},
    "subdivisions": [{"iso_code": "03"}],
    "city": {"names": {"en": "Oslo", "de": "Oslo"}},
    "location": {"time_zone": "Europe/Oslo", "latitude": 59.9},
}


@pytest.fixture
def database(tmp_path: Path) -> str:
    places: dict[str, Any] = {"203.0.113.0/24": OSLO, "2001:db8::/32": {"country": {"iso_code": "SE"}}}
    writer = MMDBWriter(6, "Test-City", ipv4_compatible=True)
    for network, place in places.items():
        assert ip_network(network)
        writer.insert_network(IPSet([network]), place)
    writer.to_db_file(str(tmp_path / "city.mmdb"))
    return str(tmp_path / "city.mmdb")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("203.0.113.77", {"country": "NO", "region": "03", "city": "Oslo", "timezone": "Europe/Oslo"}),
        ("2001:db8::1", {"country": "SE"}),
        ("198.51.100.1", {}),
        ("no address", {}),
        ("", {}),
    ],
)
def test_an_address_is_where_the_database_says_as_far_as_it_says(
    database: str, address: str, place: dict[str, str]
) -> None:
    assert dict(locator(database)(address)) == place


def test_without_a_database_nothing_is_found_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "headwater.geo"):
        locate = locator("")
        assert [dict(locate("203.0.113.77")) for _ in range(3)] == [{}, {}, {}]
    assert [record.message for record in caplog.records] == [
        "a source asks for geo, and HEADWATER_GEO_DATABASE names no database: nothing is added"
    ]


@pytest.mark.parametrize("content", [None, b"", b"not a database"])
def test_a_database_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "city.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GeoError, match=r"HEADWATER_GEO_DATABASE: .*city\.mmdb"):
        locator(str(path))
