"""Commands about workflows: try one, draw it, its versions; the actions there are; secrets."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from deploy.commands.asking import ask, json_option, print_json, table, text
from deploy.commands.errors import clear_errors
from deploy.operations.rehearsing import definitions_from
from deploy.operations.scaffolding import scaffold
from deploy.operations.trying import Tried, try_workflow, workflow_of
from deploy.operations.versions import publish_draft, roll_back, rotate_secrets, versions
from deploy.settings import connected, load_settings
from workflows.actions.action import ERROR, Action
from workflows.actions.builtin import load_actions
from workflows.drawing import drawn

_definitions = click.option(
    "--definitions", "folder", type=click.Path(path_type=Path), help="Those in this folder, not those in force."
)


@click.group()
def workflow() -> None:
    """Workflows: try one, draw it, its versions."""


@workflow.command("test")
@click.argument("name")
@click.option(
    "--event", required=True, metavar="FILE|ID", help="A JSON file (an event, or a payload), or a recorded id."
)
@click.option("--source", help="Whose event it is, where that is not plain.")
@click.option("--came", metavar="JSON", help="Properties of an event that comes for nodes that wait for one.")
@_definitions
@json_option
@clear_errors
def test(name: str, event: str, source: str | None, came: str | None, folder: Path | None, as_json: bool) -> None:
    """Run workflow NAME (its draft, where there is one) over an event, without effects.

    What it asks of the outside goes to the test credentials of its resources. Times are over at once; an event that it
    waits for does not come, unless --came says so.
    """
    try:
        properties: Mapping[str, Any] | None = json.loads(came) if came else None
    except ValueError as error:
        raise click.ClickException(f"--came is not JSON: {error}") from error
    sent: bytes | str = Path(event).read_bytes() if Path(event).is_file() else event
    tried = asyncio.run(try_workflow(load_settings(), name, sent, folder, source, properties))
    if as_json:
        print_json(tried)
    else:
        click.echo("\n".join(_told(tried)))


def _told(tried: Tried) -> list[str]:
    lines = []
    for number, step in enumerate(tried.steps, 1):
        way = f"waits for {_short(step.waits_for)}" if step.waits_for else f"leaves by {step.port}"
        lines.append(f"{number:3}. {step.node} ({step.action}) {way}, {step.milliseconds:.2f} ms")
        lines += [f"       data.{key} = {_short(value)}" for key, value in step.data.items()]
        if step.answer is not None:
            lines.append(f"       answer: {_short(step.answer)}")
        lines += [f"       {type(command).__name__} {_short(command)}" for command in step.commands]
        if step.error:
            lines.append(f"       error: {step.error}")
    lines.append("the profile would change:" if tried.changes else "the profile would not change")
    lines += [f"  {field}: {how} {_short(value)}" for field, how, value in tried.changes]
    lines += [f"would happen, by {node}: {type(one).__name__} {_short(one)}" for node, one in tried.effects]
    return lines + [f"error at {node}: {error}" for node, error in tried.errors]


def _short(value: Any) -> str:
    said = msgspec.json.encode(value, enc_hook=str).decode()
    return said if len(said) <= 200 else said[:197] + "..."


@workflow.command("draw")
@click.argument("name")
@_definitions
@clear_errors
def draw(name: str, folder: Path | None) -> None:
    """Workflow NAME as a Mermaid flowchart."""
    click.echo(drawn(workflow_of(asyncio.run(definitions_from(folder, load_settings())), name)))


@workflow.command("versions")
@click.argument("name")
@json_option
@clear_errors
def show_versions(name: str, as_json: bool) -> None:
    """All versions of workflow NAME that were ever applied, latest first."""
    found = ask(lambda connection, admin: versions(connection, name))
    if as_json:
        print_json(found)
        return
    cells = [[str(one.revision), one.state, text(one.changed_at), one.changed_by, one.nodes] for one in found]
    click.echo("\n".join(table(cells, ("revision", "state", "applied", "by", "nodes"))))


@workflow.command("publish")
@click.argument("name")
@clear_errors
def publish(name: str) -> None:
    """Put the draft of workflow NAME in force. Runs that wait go on with the version that they began with."""
    asyncio.run(publish_draft(connected(load_settings()), name))
    click.echo(f"the draft of {name} is in force")


@workflow.command("rollback")
@click.argument("name")
@click.option("--to", "revision", type=int, help="A revision that `headwater workflow versions` shows.")
@clear_errors
def rollback(name: str, revision: int | None) -> None:
    """Put an earlier version of workflow NAME in force again: the one before, or the one named.

    Its file still holds the later one: change that too, or the next apply brings it back.
    """
    back = asyncio.run(roll_back(connected(load_settings()), name, revision))
    click.echo(f"revision {back} of {name} is in force again")


@click.group(invoke_without_command=True)
@click.option("--schema", is_flag=True, help="The settings of all actions as JSON Schema, for editors.")
@json_option
@click.pass_context
@clear_errors
def actions(context: click.Context, schema: bool, as_json: bool) -> None:
    """The actions that workflows are made of: ours, and those of installed packages."""
    if context.invoked_subcommand is not None:
        return
    known = load_actions()
    if schema:
        print_json({name: one.Config.model_json_schema(mode="validation") for name, one in sorted(known.items())})
    elif as_json:
        print_json([_described(one) for one in known.values()])
    else:
        for one in known.values():
            click.echo(f"{one.name}: {_first(one)}")
        click.echo("\nOne of them: headwater actions show NAME. One of your own: headwater actions new NAME.")


@actions.command("show")
@click.argument("name")
@clear_errors
def show_action(name: str) -> None:
    """What action NAME does, its settings and its ports."""
    one = load_actions().get(name)
    if one is None:
        raise LookupError(f"there is no action {name!r}: `headwater actions` lists them")
    click.echo("\n".join(documented(one)))


@actions.command("new")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("."), show_default=True)
@clear_errors
def new_action(name: str, folder: Path) -> None:
    """A package with an action of your own, and its test."""
    for path in scaffold(name, folder):
        click.echo(path)
    click.echo(f"Try it: pip install -e {folder / name} && pytest {folder / name}. Workers need it installed too.")


def documented(action: Action[Any]) -> list[str]:
    """An action's documentation, from its own models."""
    ports = " ".join((*action.ports, ERROR))
    lines = [f"{action.name}", *(f"  {line}" for line in _paragraph(type(action).__doc__)), f"  ports: {ports}"]
    lines += [f"  {line}" for line in _paragraph(action.Config.__doc__)]
    for field, about in action.Config.model_fields.items():
        default = "needed" if about.is_required() else f"else {about.get_default(call_default_factory=True)!r}"
        lines.append(f"  - {about.alias or field}: {default}")
    return lines


def _described(action: Action[Any]) -> dict[str, Any]:
    return {
        "name": action.name,
        "documentation": " ".join(_paragraph(type(action).__doc__)),
        "ports": [*action.ports, ERROR],
        "settings": action.Config.model_json_schema(mode="validation"),
    }


def _first(action: Action[Any]) -> str:
    return " ".join(_paragraph(type(action).__doc__)).split(". ")[0].rstrip(".") + "."


def _paragraph(documentation: str | None) -> list[str]:
    return [line.strip() for line in (documentation or "").splitlines() if line.strip()]


@click.group()
def secrets() -> None:
    """Secrets in definitions."""


@secrets.command("rotate")
@clear_errors
def rotate() -> None:
    """Seal every secret anew with the first of HEADWATER_SECRETS_KEY; the other keys may be dropped then."""
    count = asyncio.run(rotate_secrets(connected(load_settings())))
    click.echo(f"the secrets of {count} definitions are sealed with the first key")


COMMANDS = (workflow, actions, secrets)
