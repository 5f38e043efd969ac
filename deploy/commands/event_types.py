"""Commands about event types."""

import sys
from pathlib import Path

import click

from deploy.commands.asking import ask, json_option, print_json, table
from deploy.commands.errors import clear_errors
from deploy.definitions import read_folder
from deploy.operations.event_types import check_event_types, known_event_types


@click.group("event-types")
def event_types() -> None:
    """Event types: the registry of what events' properties look like."""


@event_types.command("list")
@json_option
@clear_errors
def list_types(as_json: bool) -> None:
    """The event types in force, with their versions."""
    found = ask(lambda connection, admin: known_event_types(connection))
    if as_json:
        print_json([{"id": id, "version": version, "description": about} for id, version, about in found])
    else:
        header = ("event type", "version", "description")
        click.echo("\n".join(table(found, header) if found else ["there are no event types"]))


@event_types.command("check")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@clear_errors
def check(folder: Path, as_json: bool) -> None:
    """Compare the event types in FOLDER with those in force: does each still take what was taken?

    Says what would be refused, and how many of the latest events of the type would have been. Exit code 1 where a
    schema breaks what is in force without a higher version.
    """
    wanted = read_folder(folder)
    found = ask(lambda connection, admin: check_event_types(connection, wanted))
    if as_json:
        print_json(found)
    else:
        cells = [
            [one.id, one.state, one.version, f"{one.refused:,} of {one.looked_at:,}" if one.looked_at else "-"]
            for one in found
        ]
        header = ("event type", "change", "version", "would be refused")
        click.echo("\n".join(table(cells, header) if cells else [f"there are no event types in {folder}"]))
        for one in found:
            for sentence in one.breaks if one.state == "breaking" else ():
                click.echo(f"{one.id}: {sentence}")
    if wrong := [one.id for one in found if one.is_wrong]:
        click.echo(f"a higher version is needed: {', '.join(wrong)}", err=True)
        sys.exit(1)


COMMANDS = (event_types,)
