"""`headwater identity`: who is who, and why."""

import click

from deploy.commands.asking import ask, json_option, limit_option, print_json, table, text
from deploy.commands.errors import clear_errors
from deploy.operations import identity as people
from deploy.settings import connected, load_settings


@click.group()
def identity() -> None:
    """Who is who, and why. People are named by a profile's id or by an identifier, as customer-id:00004."""


@identity.command()
@click.argument("one")
@click.argument("other")
@json_option
@clear_errors
def why(one: str, other: str, as_json: bool) -> None:
    """Whether ONE and OTHER are the same person, and what made them so, or kept them apart."""
    settings = connected(load_settings())
    found = ask(lambda connection, admin: people.why(connection, settings, one, other))
    if as_json:
        print_json(found._asdict())
    else:
        click.echo("\n".join(found.sentences))


@identity.command()
@limit_option
@json_option
@clear_errors
def conflicts(limit: int, as_json: bool) -> None:
    """What the guards stopped, latest first: merges refused, identifiers not linked."""
    found = ask(lambda connection, admin: people.conflicts(connection, limit))
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no conflicts")
    else:
        columns = ("first_at", "what", "reason", "namespace", "event_id", "profiles")
        shown = [[text(row[column]) for column in columns[:-1]] + [" ".join(row["profiles"])] for row in found]
        click.echo("\n".join(table(shown, columns)))


COMMANDS = (identity,)
