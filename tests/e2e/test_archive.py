"""The archive keeps payloads byte for byte, and what must not be kept is kept nowhere."""

import json
from pathlib import Path

import fastavro
import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation, Place
from tests.kit.waiting import until

DEFINITIONS = """
kind: source
id: shop
---
kind: source
id: fleeting
ephemeral: true
---
kind: source
id: unarchived
archive: false
---
kind: rule
id: all-views
event_type: page-view
workflows: [count]
---
kind: workflow
id: count
nodes:
  add: {action: update-profile, config: {increment: {views: "1"}}}
"""

SECRET = "jane.doe@example.com"
STAGES = ("validate", "identify", "persist", "route", "run-workflows", "record-failures")

pytestmark = pytest.mark.slow


def archived(installation: Installation) -> dict[Place, bytes]:
    """Body by place, as any Avro reader finds them. Files that overlap after a crash say the same twice."""
    found: dict[Place, bytes] = {}
    for path in sorted((installation.folder / "data" / "archive").rglob("*.avro")):
        with path.open("rb") as file:
            rows = list(fastavro.reader(file))
        places = [(row["partition"], row["offset"]) for row in rows]
        assert places == sorted(set(places)), path
        for place, row in zip(places, rows, strict=True):
            assert found.setdefault(place, row["body"]) == row["body"], place
    return found


def view(source: str, **more: object) -> bytes:
    event = {"type": "page-view", "properties": {"mail": SECRET}, **more}
    return json.dumps(payload(source, event, session=f"{source} visit")).encode()


def files(folder: Path) -> list[Path]:
    return sorted((folder / "data" / "archive").rglob("*.avro"))


def test_payloads_are_kept_byte_for_byte_each_place_once_and_those_of_fleeting_sources_nowhere(
    make_installation: MakeInstallation,
) -> None:
    installation = make_installation(DEFINITIONS)
    kept = [
        view("shop"),
        b' {"source" :{"id":"shop"},\n "events":[{"type":"page-view", "n":1.50, "n":2}]}\t',
        b"\x00\xff no payload at all",
        view("nobody"),
    ]
    dropped = [
        view("fleeting"),
        view("fleeting").replace(b'"fleeting"', b'" fleeting "'),
        view("fleeting").replace(b'"fleeting"', b'"fl\\u0065eting"'),
        view("unarchived"),
        json.dumps(json.loads(view("shop")) | {"options": {"saveEvents": False}}).encode(),
    ]
    wanted = dict(zip(installation.write_all(kept, key=b"a"), kept, strict=True))
    unwanted = installation.write_all(dropped, key=b"a")
    more = [view("shop", n=n) for n in range(500)]
    wanted |= dict(zip(installation.write_all(more), more, strict=True))
    # Killed as soon as a file is there: perhaps before the position is stored.
    installation.start("archive")
    until(lambda: files(installation.folder), 40, installation.tell)
    installation.kill("archive")
    late = [view("shop", n=-n) for n in range(50)]
    wanted |= dict(zip(installation.write_all(late), late, strict=True))
    installation.restart("archive")
    installation.wait_through(60)
    found = archived(installation)
    assert {place: json.loads(found[place]) for place in unwanted if place in found} == {}
    assert found == wanted


def test_events_that_must_not_be_stored_are_counted_and_routed_without_their_content(
    make_installation: MakeInstallation,
) -> None:
    installation = make_installation(DEFINITIONS)
    installation.start(*STAGES)
    unsaved = json.loads(view("shop"))
    bodies = [
        view("fleeting", id="a"),
        json.dumps(unsaved | {"options": {"saveEvents": False}}).encode(),
        json.dumps(
            payload(
                "shop",
                {"type": "page-view", "properties": {"mail": SECRET}, "options": {"saveEvents": False}},
                {"type": "page-view", "id": "saved"},
            )
        ).encode(),
        view("fleeting", id="a"),
    ]
    installation.write_all(bodies, key=b"k")
    installation.wait_through()
    stored = installation.sql("select source, id, saved, properties, context from events")
    assert len(stored) == 4
    assert [id for _, id, saved, _, _ in stored if saved] == ["saved"]
    assert all((properties, context) == (None, None) for _, _, saved, properties, context in stored if not saved)
    accounting = installation.require_balance()
    assert accounting["fleeting"] == {"accepted": 2, "recorded": 1, "duplicates": 1, "rejected": 0, "dead_letters": 0}
    assert accounting["shop"] == {"accepted": 3, "recorded": 3, "duplicates": 0, "rejected": 0, "dead_letters": 0}
    assert installation.one("select sum((totals->>'views')::numeric) from profile_traits") == 4
    for table, column in (("workflow_runs", "outcome"), ("sessions", "context"), ("profile_traits", "traits")):
        assert installation.one(f"select count(*) from {table} where {column}::text like %s", f"%{SECRET}%") == 0
