"""Commands that run Headwater, or prepare it."""

import asyncio
import sys
import time
from pathlib import Path

import click

from deploy.commands.asking import ask, json_option, print_json, table, text
from deploy.commands.errors import clear_errors
from deploy.logs import start_logging
from deploy.settings import Settings, connected, load_settings


def _logging(settings: Settings) -> None:
    start_logging(settings.log_level, settings.log_format)


@click.command()
@click.option("--definitions", type=click.Path(path_type=Path), help="Apply the definitions in this folder first.")
@click.option("--workers", multiple=True, metavar="STAGE=N", help="Processes of a stage, or doors (ingest=N); else 1.")
@clear_errors
def up(definitions: Path | None, workers: tuple[str, ...]) -> None:
    """Start Kafka, PostgreSQL, the door and every stage; stop them all with Ctrl-C.

    Kafka and PostgreSQL are started here unless HEADWATER_KAFKA and HEADWATER_DATABASE_URL point elsewhere. Data stays
    in the data folder (HEADWATER_DATA) for the next time. The log of each process lies in its folder `logs`.
    """
    from deploy.pipeline import parse_workers
    from deploy.supervisor import run_up

    run_up(load_settings(), definitions, parse_workers(workers))


@click.command()
@clear_errors
def services() -> None:
    """Start only embedded Kafka and PostgreSQL, for workers started by hand."""
    from deploy.supervisor import run_services

    run_services(load_settings())


@click.command()
@clear_errors
def topics() -> None:
    """Create the topics of the catalogue that are missing. What exists is left as it is."""
    from deploy.installation import create_topics

    made = create_topics(connected(load_settings()))
    click.echo(f"created {', '.join(made)}" if made else "all topics are there")


@click.command()
@clear_errors
def migrate() -> None:
    """Bring PostgreSQL's schema up to date. Safe to run from several places at once."""
    from deploy.installation import migrate_database

    applied = asyncio.run(migrate_database(connected(load_settings())))
    click.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show the difference.")
@click.option("--prune", is_flag=True, help="Remove definitions that are in no file.")
@clear_errors
def apply(folder: Path, yes: bool, dry_run: bool, prune: bool) -> None:
    """Apply the definitions in FOLDER (YAML files); shows the difference first.

    A change is live in every process within a second. Definitions that no file holds stay, unless --prune is given.
    Where segments change, everybody who is known goes through them anew.
    """
    from deploy.operations.applying import apply_folder
    from deploy.pipeline import say

    def agreed(lines: list[str]) -> bool:
        click.echo("\n".join(lines) if lines else "nothing to change")
        return not dry_run and (not lines or yes or click.confirm("Apply this?"))

    if asyncio.run(apply_folder(connected(load_settings()), folder, prune, agreed, say)):
        click.echo("applied")


@click.command()
@clear_errors
def ingest() -> None:
    """Serve the door: POST /track, GET /health, /ready, /metrics."""
    from deploy.door import run_door

    settings = connected(load_settings())
    _logging(settings)
    run_door(settings)


@click.group()
def bridge() -> None:
    """Bridges: what comes from elsewhere, by definitions of the kind `bridge`."""


@bridge.command("kafka")
@click.argument("id")
@clear_errors
def bridge_kafka(id: str) -> None:
    """Read the topic of bridge ID and write its records to `tracks` as payloads: the stage `bridge-ID`.

    `headwater up` runs one for each bridge that is defined; positions are kept in PostgreSQL, as those of all stages.
    """
    from deploy.wiring import run_worker

    settings = connected(load_settings())
    _logging(settings)
    run_worker(f"bridge-{id}", settings)


@click.command()
@click.option("--live", is_flag=True, help="Show the metrics of the definitions here, again and again, until Ctrl-C.")
@click.option("--once", is_flag=True, help="Show them once.")
@click.option("--windows", default=5, show_default=True, type=click.IntRange(1, 1000), help="So many windows of each.")
@json_option
@clear_errors
def metrics(live: bool, once: bool, windows: int, as_json: bool) -> None:
    """Serve /metrics of the whole pipeline for Prometheus: lag, waiting times, what failed, the accounting, and the
    last window of every metric of the definitions.

    One is enough for an installation. The alerts that go with it are in deploy/alerts. With --live or --once the
    metrics of the definitions are shown instead.
    """
    if live or once:
        return _show_metrics(windows, as_json, once)
    from deploy.supervisor import run_metrics

    run_metrics(connected(load_settings()))


def _show_metrics(windows: int, as_json: bool, once: bool) -> None:
    from deploy.operations.measures import recent

    header = ("metric", "window", "value", "events", "sum", "people")
    while True:
        found = ask(lambda connection, admin: recent(connection, windows))
        if as_json:
            print_json(found)
        else:
            cells = [
                [
                    one.metric,
                    text(one.begins),
                    one.value,
                    *(f"{number:g}" for number in (one.events, one.sum, one.people)),
                ]
                for one in found
            ]
            if not once:
                click.clear()
            click.echo("\n".join(table(cells, header) if cells else ["nothing was counted in these windows"]))
        if once:
            return
        time.sleep(1)


@click.command()
@click.argument("stage")
@clear_errors
def worker(stage: str) -> None:
    """Run one process of STAGE. Start more of them to scale it: Kafka shares the partitions out."""
    from deploy.wiring import run_worker

    settings = connected(load_settings())
    _logging(settings)
    run_worker(stage, settings)


@click.command()
@click.option("--exit", "exit_after", is_flag=True, help="Stop everything when the table is printed.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON line instead of the table.")
@click.option("--rows", type=click.IntRange(1), help="Only the first so many purchases.")
@click.option("--data", type=click.Path(path_type=Path), default=Path("tests/data/cdnow.txt"), show_default=True)
@clear_errors
def demo(exit_after: bool, as_json: bool, rows: int | None, data: Path) -> None:
    """Run the whole pipeline on 69,659 real purchases of 23,570 customers, and show what became of them.

    It has data and ports of its own: nothing you run otherwise is touched. Exits with 1 where what came out is not what
    went in.
    """
    from deploy.demo_run import run_demo

    if not run_demo(load_settings(), data, rows, exit_after, as_json):
        sys.exit(1)


COMMANDS = (up, services, topics, migrate, apply, ingest, worker, bridge, metrics, demo)
