"""Commands about destinations."""

import asyncio
from datetime import UTC, datetime, timedelta

import click

from deploy.commands.asking import ask, json_option, print_json, table, time_of
from deploy.commands.errors import clear_errors
from deploy.operations.destinations import destination_status, send_again, set_paused
from deploy.pipeline import say
from deploy.settings import connected, load_settings


@click.group()
def destination() -> None:
    """Destinations: how they stand, holding one back, sending again."""


@destination.command("status")
@json_option
@clear_errors
def status(as_json: bool) -> None:
    """Every destination: what waits for it, and since when, what was given up, what failed."""
    found = ask(destination_status)
    if as_json:
        print_json(found)
        return
    cells = [
        [
            *(one.id, one.type, one.state, one.waiting),
            "" if one.oldest_s is None else f"{one.oldest_s:.0f} s",
            one.dead_letters,
            ", ".join(f"{cause} {count:,}" for cause, count in one.retries.items()),
        ]
        for one in found
    ]
    header = ("destination", "type", "state", "waiting", "oldest", "dead letters", "retries")
    click.echo("\n".join(table(cells, header) if cells else ["there are no destinations"]))


@destination.command("pause")
@click.argument("id")
@clear_errors
def pause(id: str) -> None:
    """Hold deliveries of destination ID back, from a second from now on: they wait, for seven days at most."""
    news = asyncio.run(set_paused(connected(load_settings()), id, True))
    click.echo(f"{id} is paused" if news else f"{id} was paused already")


@destination.command("resume")
@click.argument("id")
@clear_errors
def resume(id: str) -> None:
    """Let a paused destination ID go on."""
    news = asyncio.run(set_paused(connected(load_settings()), id, False))
    click.echo(f"{id} goes on" if news else f"{id} was not paused")


@destination.command("replay")
@click.argument("id")
@click.option("--since", required=True, help="Delivered since a time (ISO 8601), or for: 30m, 2h, 7d at most.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@clear_errors
def replay(id: str, since: str, yes: bool) -> None:
    """Deliver to destination ID once more what was written for it since then, under the same idempotency keys.

    Behind what waits for it now: whoever keeps versions must not mind older ones that come later. What was of people
    who were erased since, or have withdrawn a consent that it needs, is left out.
    """
    from_then = time_of(since) or datetime.now(UTC) - timedelta(days=7)
    settings = connected(load_settings())
    if not yes:
        click.confirm(f"Deliver to {id} again what was written since {from_then:%Y-%m-%d %H:%M:%S %Z}?", abort=True)
    outcome = ask(
        lambda connection, admin: send_again(connection, settings, id, from_then, lambda n: say(f"{n:,} deliveries"))
    )
    click.echo(f"{outcome.deliveries:,} deliveries of {id} are on their way again")
    if outcome.left_out:
        click.echo(f"{outcome.left_out:,} are left out, of people who were erased or have withdrawn their consent")


COMMANDS = (destination,)
