"""`headwater event-types list` and `check`: what would break is said before it is applied, and how much it would be."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation

NUMBER, TEXT = "{type: number}", "{type: string}"


def event_type(id: str, schema: str, version: int = 1, description: str = "") -> str:
    return f"---\n{{kind: event-type, id: {id}, version: {version}, description: '{description}', schema: {schema}}}\n"


def of(*required: str, **properties: str) -> str:
    named = ", ".join(f"{name}: {schema}" for name, schema in properties.items())
    return f"{{type: object, properties: {{{named}}}, required: [{', '.join(required)}]}}"


IN_FORCE = (
    event_type("bought", of(total=NUMBER), version=3, description="Somebody paid.")
    + event_type("seen", of(page=TEXT))
    + event_type("wide", of(a=NUMBER))
)


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    """12 purchases of 0 to 11, one without a total; 3 pages, and one not stored; 5 of a type without a definition."""
    installation = make_shared_installation("{kind: source, id: shop}\n" + IN_FORCE, forked=True)
    installation.start("validate", "identify", "persist")
    events: list[dict[str, Any]] = [
        *({"type": "bought", "properties": {"total": n}} for n in range(12)),
        {"type": "bought", "properties": {}},
        *({"type": "seen", "properties": {"page": page}} for page in ("a", "bb", "ccc")),
        *({"type": "liked", "properties": {"stars": n}} for n in range(5)),
        {"type": "seen", "properties": {"page": "not stored"}, "options": {"saveEvents": False}},
    ]
    installation.write(json.dumps(payload("shop", *events)).encode())
    installation.wait_through()
    assert installation.one("select count(*) from events") == len(events)
    return installation


def check(shop: Installation, folder: Path, definitions: str) -> tuple[int, list[dict[str, Any]], str]:
    """The exit code, what is said in JSON, and what is said to people beside it."""
    (folder / "types.yaml").write_text(definitions)
    done = shop.command("event-types", "check", str(folder), "--json")
    return done.returncode, json.loads(done.stdout), done.stderr


def test_list_shows_what_is_in_force(shop: Installation) -> None:
    assert shop.json("event-types", "list") == [
        {"id": "bought", "version": 3, "description": "Somebody paid."},
        {"id": "seen", "version": 1, "description": ""},
        {"id": "wide", "version": 1, "description": ""},
    ]


def test_what_breaks_nothing_passes_with_what_each_change_is(shop: Installation, tmp_path: Path) -> None:
    definitions = (
        event_type("bought", of(total=NUMBER), version=3, description="In other words.")
        + event_type("seen", of(page=TEXT, referrer=TEXT))
        + event_type("liked", of("stars", stars="{type: integer, minimum: 2}"))
    )
    code, found, said = check(shop, tmp_path, definitions)
    assert (code, said) == (0, "")
    columns = ("id", "state", "version", "version_in_force", "looked_at", "refused")
    assert [tuple(one[name] for name in columns) for one in found] == [
        ("bought", "same", 3, 3, 0, 0),
        ("liked", "new", 1, None, 5, 2),
        ("seen", "compatible", 1, 1, 3, 0),
    ]


def test_what_breaks_something_without_a_higher_version_fails_and_says_what_and_how_much(
    shop: Installation, tmp_path: Path
) -> None:
    definitions = (
        event_type("bought", of("total", total="{type: number, minimum: 7}"), version=3)
        + event_type("seen", of(page="{type: string, maxLength: 2}"), version=2)
        + event_type("wide", of(a=TEXT), version=1)
    )
    before = shop.sql("select key, revision from definitions order by 1, 2")
    code, found, said = check(shop, tmp_path, definitions)
    assert code == 1
    assert shop.sql("select key, revision from definitions order by 1, 2") == before
    assert said.splitlines() == ["a higher version is needed: bought, wide"]
    by_id = {one["id"]: one for one in found}
    assert {id: (one["state"], one["looked_at"], one["refused"]) for id, one in by_id.items()} == {
        "bought": ("breaking", 13, 8),
        "seen": ("breaking", 3, 1),
        "wide": ("breaking", 0, 0),
    }
    assert sorted(by_id["bought"]["breaks"]) == ["/total has a tighter minimum", "/total is required now"]
    shown = shop.command("event-types", "check", str(tmp_path))
    assert (shown.returncode, shown.stderr) == (1, "a higher version is needed: bought, wide\n")
    assert "8 of 13" in shown.stdout
    assert "bought: /total is required now" in shown.stdout.splitlines()


def test_a_lower_version_that_breaks_something_fails_and_a_higher_one_passes(
    shop: Installation, tmp_path: Path
) -> None:
    breaking = of("total", total=NUMBER)
    assert [check(shop, tmp_path, event_type("bought", breaking, version))[0] for version in (2, 4)] == [1, 0]


@pytest.mark.parametrize(
    ("definitions", "says"),
    [
        ("{kind: event-type, id: bought, schema: {type: nonsense}}", "event-type/bought"),
        (None, "is not a folder"),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line(
    shop: Installation, tmp_path: Path, definitions: str | None, says: str
) -> None:
    folder = tmp_path / ("nowhere" if definitions is None else "")
    if definitions is not None:
        (folder / "types.yaml").write_text(definitions)
    done = shop.command("event-types", "check", str(folder))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("Error: ")
    assert says in done.stderr
