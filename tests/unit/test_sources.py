"""Who may send, and by which bridge."""

import pytest

from tests.unit.making import definitions
from workflows.sources import source_reasons

SOURCES = definitions(
    {"kind": "source", "id": "open"},
    {"kind": "source", "id": "off", "enabled": False},
    {"kind": "source", "id": "web", "bridges": ["http"]},
)


@pytest.mark.parametrize(
    ("source", "bridge", "code"),
    [
        ("open", "http", None),
        ("open", "kafka", None),
        ("open", None, None),
        ("web", "http", None),
        ("web", None, None),
        ("web", "kafka", "bridge_not_allowed"),
        ("off", "http", "source_disabled"),
        ("off", None, "source_disabled"),
        ("Open", "http", "unknown_source"),
        ("@internal", "http", "unknown_source"),
        ("", "http", "unknown_source"),
        (None, "http", "no_source"),
    ],
)
def test_a_source_may_send_only_where_it_is_defined_enabled_and_allowed(source, bridge, code):
    found = source_reasons(source, SOURCES, bridge)
    assert [reason.code for reason in found] == ([code] if code else [])
    assert all(reason.path == "/source/id" for reason in found)
