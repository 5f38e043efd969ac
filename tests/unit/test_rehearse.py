"""`headwater reshape --test`: before and after, by which definition, or why not; for an event and for a payload."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.cli import main

DEFINITIONS = """
kind: source
id: shop
---
kind: reshaping
id: orders
event_type: order
becomes: order-completed
properties: {order: {id: $event.properties.no}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.yaml").write_text(DEFINITIONS)
    return tmp_path


def tried(folder: Path, given: Any, *arguments: str) -> Any:
    text = given if isinstance(given, str) else json.dumps(given)
    return CliRunner().invoke(main, ["reshape", "--test", "-", "--definitions", str(folder), *arguments], input=text)


def test_an_event_is_shown_before_and_after(folder: Path):
    done = tried(folder, {"type": "Order", "properties": {"no": "7"}})
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "the event is reshaped by orders:"
    assert {"- type: order", "+ type: order-completed", "-   'no': '7'", "+   order:", "+     id: '7'"} <= set(lines)


def test_a_payload_shows_each_of_its_events_as_json_too(folder: Path):
    events = [{"type": "order", "properties": {"no": 7}}, {"type": "order"}, {"type": "page-view"}]
    done = tried(folder, {"source": {"id": "shop"}, "events": events}, "--json")
    shaped, rejected, plain = json.loads(done.stdout)
    assert shaped["after"] == {"type": "order-completed", "properties": {"order": {"id": 7}}, "context": {}}
    assert (rejected["by"], rejected["after"]) == ("orders", None)
    assert [(reason["code"], reason["path"]) for reason in rejected["reasons"]] == [
        ("cannot_reshape", "/properties/no")
    ]
    assert (plain["by"], plain["after"]) == (None, plain["before"])


@pytest.mark.parametrize(
    "given, said",
    [
        ("[", "this is not JSON"),
        ("[]", "is a JSON object"),
        ('{"events": []}', "empty_batch"),
        ('{"type": "order"', "this is not JSON"),
    ],
)
def test_what_cannot_be_tried_gets_one_clear_line(folder: Path, given: str, said: str):
    done = tried(folder, given)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert said in line


def test_an_event_needs_a_source_where_there_is_more_than_one(folder: Path):
    (folder / "more.yaml").write_text("{kind: source, id: app}")
    assert "--source" in tried(folder, {"type": "order"}).stderr
    assert "stays as it is" in tried(folder, {"type": "page-view"}, "--source", "app").stdout
    assert "unknown_source" in tried(folder, {"type": "page-view"}, "--source", "nobody").stdout
