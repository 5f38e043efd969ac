"""`headwater identity`: who is who, and why."""

import click

from deploy.commands.asking import ask, counted, json_option, limit_option, print_json, table, text
from deploy.commands.errors import clear_errors
from deploy.operations import erasing, exporting, merging
from deploy.operations import identity as people
from deploy.operations.merging import Plan
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


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only say what would become of them.")
@json_option
@clear_errors
def merge(names: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Merge the people of these NAMES, and say what came of it: who survives, every trait, every number.

    Guards that doubt whether they are one person do not hold; values that contradict each other do.
    """
    settings = connected(load_settings())
    work = merging.plan_merge if dry_run else merging.merge
    plan = ask(lambda connection, admin: work(connection, settings, names))
    if as_json:
        print_json(plan)
    else:
        click.echo("\n".join(_plan(plan, dry_run)))


@click.command()
@click.argument("profile")
@click.option("--dry-run", is_flag=True, help="Only say what would go with it.")
@json_option
@clear_errors
def unmerge(profile: str, dry_run: bool, as_json: bool) -> None:
    """Undo the merge by which PROFILE became part of another (see `identity why`): both are again what they would be.

    Later events go by what they show of either, and by their session; the two are kept apart from now on.
    """
    settings = connected(load_settings())
    work = merging.plan_unmerge if dry_run else merging.unmerge
    parted = ask(lambda connection, admin: work(connection, settings, profile))
    if as_json:
        print_json(parted)
    elif parted is None:
        click.echo("it is part of no other")
    else:
        would = "would leave" if dry_run else "has left"
        click.echo(f"{parted.left} {would} {parted.stayed}, with {counted(parted.events, 'event')} of its own")
        click.echo("\n".join(f"  and {id}, which was part of it" for id in parted.members if id != parted.left))


def _plan(plan: Plan, dry_run: bool) -> list[str]:
    if plan.survivor is None:
        return ["they are one profile already"]
    lines = [f"{plan.survivor} would survive; {', '.join(plan.absorbed)} would become part of it"]
    if plan.refused:
        lines = [f"they {'would not be' if dry_run else 'are not'} merged: {plan.refused}", f"if they were: {lines[0]}"]
    elif not dry_run:
        lines = [f"{plan.survivor} survives; {', '.join(plan.absorbed)} is part of it"]
    for name, (value, source) in sorted(plan.traits.items()):
        lines.append(f"  trait {name}: {text(value)}  ({'of ' + source if source else 'of several'})")
    lines += [f"  total {name}: {value}" for name, value in sorted(plan.totals.items())]
    return [*lines, *(f"  events {name}: {count:,}" for name, count in sorted(plan.counters.items()))]


@click.command()
@click.argument("name")
@clear_errors
def export(name: str) -> None:
    """Print everything that is known of the person of that NAME, as JSON: their right to have it."""
    settings = connected(load_settings())
    print_json(ask(lambda connection, admin: exporting.export(connection, settings, name)))


@click.command()
@click.argument("name", required=False)
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
@click.option("--purge-topics", is_flag=True, help="Delete from Kafka too what all stages are done with, of everybody.")
@clear_errors
def erase(name: str | None, yes: bool, dry_run: bool, purge_topics: bool) -> None:
    """Erase the person of that NAME for good: their right to it. Without a NAME: clean up behind all.

    Tables and the archive's files are without them when this returns; what passed through Kafka goes after three to
    eight days, or at once with --purge-topics. Nothing of before brings them back.
    """
    settings = connected(load_settings())
    if name is not None:
        found = ask(lambda connection, admin: erasing.plan(connection, settings, name))
        click.echo(
            f"{found.profile}: {counted(found.profiles, 'profile')}, {counted(found.identifiers, 'identifier')}, "
            f"{counted(found.sessions, 'session')}, {counted(found.events, 'event')}"
        )
        if dry_run:
            return
        if not yes:
            click.confirm("Erase them? It cannot be undone", abort=True)
        ask(lambda connection, admin: erasing.erase(connection, settings, found, click.echo))
    else:
        ask(lambda connection, admin: erasing.clean_up(connection, settings, click.echo))
    if purge_topics:
        ask(lambda connection, admin: erasing.purge_topics(connection, settings, click.echo))


COMMANDS = (identity, merge, unmerge, export, erase)
