"""Commands that try definitions out: nothing is stored, nothing is sent."""

import asyncio
import difflib
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec
import yaml

from deploy.commands.asking import ask, json_option, print_json
from deploy.commands.errors import clear_errors
from deploy.operations.rehearsing import Rehearsed, definitions_from, rehearse
from deploy.operations.reprocessing import explain_event
from deploy.settings import load_settings
from processors.connectors.geo import locator


@click.command()
@click.option("--test", "event", type=click.File("rb"), required=True, metavar="EVENT", help="A JSON file; - is stdin.")
@click.option("--definitions", type=click.Path(path_type=Path), help="Try those in this folder, not those in force.")
@click.option("--source", help="Whose event it is; needed where EVENT is no whole payload.")
@json_option
@clear_errors
def reshape(event: BinaryIO, definitions: Path | None, source: str | None, as_json: bool) -> None:
    """What reshapings make of an EVENT (or a payload of some), before and after."""
    settings = load_settings()
    known = asyncio.run(definitions_from(definitions, settings))
    found = rehearse(event.read(), source, known, locator(settings.geo_database))
    if as_json:
        print_json(found)
        return
    for number, one in enumerate(found, 1):
        click.echo("\n".join(_lines(one, f"event {number} of {len(found)}" if len(found) > 1 else "the event")))


def _lines(one: Rehearsed, name: str) -> list[str]:
    if one.reasons:
        through = f" by reshaping {one.by}" if one.by else ""
        return [f"{name} is rejected{through}:", *(f"  {r.code} {r.path} {r.message}".rstrip() for r in one.reasons)]
    if one.by is None or one.after is None:
        return [f"{name} stays as it is: no reshaping applies"]
    before, after = _yaml(one.before), _yaml(one.after)
    diff = difflib.ndiff(before, after)
    return [f"{name} is reshaped by {one.by}:", *(f"  {line}" for line in diff if not line.startswith("?"))]


def _yaml(shape: dict[str, Any]) -> list[str]:
    return yaml.safe_dump(shape, sort_keys=False, allow_unicode=True).splitlines()


@click.group()
def rules() -> None:
    """What rules say."""


@rules.command("explain")
@click.argument("event")
@click.option("--source", help="Whose event it is, where several sources have one of that id.")
@click.option("--all", "everything", is_flag=True, help="Rules about other event types and sources too.")
@json_option
@clear_errors
def explain_rules(event: str, source: str | None, everything: bool, as_json: bool) -> None:
    """Which rules want the recorded EVENT (its id), which do not, and why, with the values that they looked at.

    By today's rules, and by what is known of its profile now.
    """
    found = ask(lambda connection, admin: explain_event(connection, event, source))
    told = found if everything else [one for one in found if not one.why.startswith("it is about")]
    if as_json:
        print_json(told)
        return
    for one in told:
        click.echo(f"{'+' if one.matched else '-'} rule {one.rule} (priority {one.priority}): {one.why}")
        if one.matched:
            click.echo(f"    runs {', '.join(one.workflows)}")
        if one.condition is not None:
            click.echo(f"    {one.condition}")
        for path, value in one.values.items():
            click.echo(f"    {path} = {msgspec.json.encode(value, enc_hook=str).decode()}")
    if others := len(found) - len(told):
        click.echo(f"{others} rules are about other event types or sources (--all)")


COMMANDS = (reshape, rules)
