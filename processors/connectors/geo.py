"""Where an address is, by a MaxMind database that the user points to (GeoLite2 City, or any with its fields)."""

import logging
from collections.abc import Mapping
from typing import Any

import maxminddb

from workflows.enriching import Locate

log = logging.getLogger("headwater.geo")


class GeoError(Exception):
    """The database cannot be used; the message says why."""


def locator(path: str) -> Locate:
    """What says where an address is: `country` and `region` (ISO codes), `city` (its English name), `timezone`, as far
    as is known. The file is mapped, not read; one that is replaced is used after a restart. Raises GeoError."""
    if not path:
        return _Nowhere()
    try:
        database = maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise GeoError(f"HEADWATER_GEO_DATABASE: {path}: {error}") from error

    def locate(address: str) -> Mapping[str, str]:
        try:
            return _place(database.get(address))
        except (ValueError, TypeError):  # no address
            return {}
        except maxminddb.InvalidDatabaseError:
            log.exception("HEADWATER_GEO_DATABASE is damaged; nothing is added where it is")
            return {}

    return locate


class _Nowhere:
    """In the place of a database; said once."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, address: str) -> Mapping[str, str]:
        if not self._said:
            self._said = True
            log.warning("a source asks for geo, and HEADWATER_GEO_DATABASE names no database: nothing is added")
        return {}


def _place(found: Any) -> Mapping[str, str]:
    parts = {
        "country": _at(found, "country", "iso_code"),
        "region": _at(found, "subdivisions", 0, "iso_code"),
        "city": _at(found, "city", "names", "en"),
        "timezone": _at(found, "location", "time_zone"),
    }
    return {name: value for name, value in parts.items() if isinstance(value, str)}


def _at(found: Any, *path: str | int) -> Any:
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return None
    return found
