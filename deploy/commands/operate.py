"""Commands that do something to a running installation: replay, recover, reprocess, compare."""

import asyncio
import sys

import click

from deploy.commands.asking import ask, json_option, print_json, time_of
from deploy.commands.errors import clear_errors
from deploy.keys import identity_key
from deploy.pipeline import say
from deploy.settings import connected, load_settings


class _Progress:
    """The latest line: over the one before on a terminal, else now and then."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, line: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{line}", nl=False, err=True)
        elif line.split(" ")[0] != self._last.split(" ")[0] or line.startswith("sent"):
            say(line)
        self._last = line

    def end(self) -> None:
        if sys.stderr.isatty() and self._last:
            click.echo(err=True)


@click.command()
@click.option("--since", help="Received since a time (ISO 8601), or for: 30m, 2h, 7d.")
@click.option("--until", help="Received before then; as --since.")
@click.option("--effects", is_flag=True, help="Destinations hear of what comes of it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@clear_errors
def replay(since: str | None, until: str | None, effects: bool, yes: bool, as_json: bool) -> None:
    """Send archived payloads through the pipeline once more, as the events that they were.

    Only what has no outcome yet is processed: an empty database is rebuilt, a live one stays as it is. It may be
    stopped and started again at any time. The stages must run.
    """
    from deploy.operations.replay_job import Window
    from deploy.operations.replaying import replay as send

    settings = connected(load_settings())
    if not yes:
        click.confirm(f"Replay {settings.archive()}{', with outbound effects' if effects else ''}?", abort=True)
    progress = _Progress()
    window = Window(time_of(since), time_of(until), effects)
    asked = f"since {since} until {until}{' with effects' if effects else ''}"
    done = asyncio.run(send(settings, identity_key(settings), asked, window, progress))
    progress.end()
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.sent:,} payloads sent, and through; state {done.state['all']}")


@click.command()
@click.option("--accept-gaps", is_flag=True, help="Go on behind records that are gone; each gap is written down.")
@click.option("--dry-run", is_flag=True, help="Only say what is wrong.")
@json_option
@clear_errors
def recover(accept_gaps: bool, dry_run: bool, as_json: bool) -> None:
    """Let lanes go on that stopped: a database that went back in time, records that are gone, a topic made again.

    Says of each lane what is wrong with it, with the exact offsets. The stages must run; they go on by themselves.
    """
    from deploy.operations.recovery import findings
    from deploy.operations.recovery import recover as mend

    progress = _Progress()
    settings = connected(load_settings())
    found = ask(findings) if dry_run else asyncio.run(mend(settings, accept_gaps, progress))
    progress.end()
    if as_json:
        print_json(
            [{"lane": str(one.lane), "what": one.what, "position": one.position, "kafka": one.kafka} for one in found]
        )
        return
    for finding in found:
        click.echo(str(finding))
    if not found:
        click.echo("nothing is wrong that this could mend; `headwater status` says which lanes stand still, and why")
    elif not dry_run:
        click.echo("recovered: all lanes go on")


@click.command("state-hash")
@json_option
@clear_errors
def state_hash(as_json: bool) -> None:
    """A hash of everything that is known: equal where two databases say the same, whatever the order it came in."""
    from deploy.operations.state import state_hashes

    found = ask(lambda connection, admin: state_hashes(connection))
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(f"{name:12} {value}" for name, value in found.items()))


@click.command()
@click.option("--type", "type_", help="Only this event type.")
@click.option("--source", help="Only this source.")
@click.option("--dry-run", is_flag=True, help="Only say what would run.")
@json_option
@clear_errors
def reprocess(type_: str | None, source: str | None, dry_run: bool, as_json: bool) -> None:
    """Send events that no rule wanted when they came (state `received`) through today's rules.

    Each event's workflows run once, however often this is repeated.
    """
    from deploy.operations.reprocessing import reprocess as send_again

    outcome = asyncio.run(send_again(connected(load_settings()), type_, source, dry_run))
    if as_json:
        print_json(outcome)
        return
    verb = "would run" if dry_run else "sent"
    click.echo(f"{outcome.looked_at:,} events looked at, {outcome.wanted:,} wanted by a rule now: {verb}")
    for workflow, count in sorted(outcome.by_workflow.items()):
        click.echo(f"  {workflow}: {count:,}")


COMMANDS = (replay, recover, reprocess, state_hash)
