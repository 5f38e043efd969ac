"""Commands about write keys."""

import asyncio

import click

from deploy.commands.asking import ask, json_option, print_json, table
from deploy.commands.errors import clear_errors
from deploy.operations.write_keys import add_key, known_keys, revoke_key
from deploy.settings import connected, load_settings


@click.group()
def keys() -> None:
    """Write keys of sources: what clients show at the door. Several at a time, so that one can replace another."""


@keys.command("new")
@click.argument("source")
@click.option("--name", default="", help="What it is for, as `web` or `until March`.")
@json_option
@clear_errors
def new(source: str, name: str, as_json: bool) -> None:
    """Make a write key of SOURCE, and say it once: it is kept nowhere."""
    key, id = asyncio.run(add_key(connected(load_settings()), source, name))
    if as_json:
        print_json({"key": key, "id": id})
    else:
        click.echo(f"{key}\nShown once, and in force within a second. Its id, to revoke it: {id[:12]}")


@keys.command("add")
@click.argument("source")
@click.option("--name", default="", help="What it is for.")
@clear_errors
def add(source: str, name: str) -> None:
    """Let a key in that clients have already, as one of Segment or PostHog: read from standard input, not from the
    command line, where others see it."""
    _, id = asyncio.run(
        add_key(connected(load_settings()), source, name, click.get_text_stream("stdin").read().strip())
    )
    click.echo(f"in force within a second; its id, to revoke it: {id[:12]}")


@keys.command("list")
@json_option
@clear_errors
def list_keys(as_json: bool) -> None:
    """The keys in force: how they begin, whose they are, since when."""
    found = ask(lambda connection, admin: known_keys(connection))
    if as_json:
        print_json(found)
        return
    cells = [[one.id[:12], one.source, f"{one.begins}...", one.name, f"{one.made_at:%Y-%m-%d %H:%M}"] for one in found]
    header = ("id", "source", "begins", "name", "since")
    click.echo("\n".join(table(cells, header) if cells else ["there are no write keys"]))


@keys.command("revoke")
@click.argument("id")
@clear_errors
def revoke(id: str) -> None:
    """Take the key back whose id begins with ID: within seconds no door takes it."""
    click.echo(f"revoked; it was a key of {asyncio.run(revoke_key(connected(load_settings()), id))}")


COMMANDS = (keys,)
