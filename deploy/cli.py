"""The command `headwater`."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg
from confluent_kafka import KafkaException

from deploy.settings import SettingsError, connected, load_settings
from workflows.definitions import DefinitionError

T = TypeVar("T")


def _clear_errors(command: Callable[..., T]) -> Callable[..., T]:
    """What a user can mend is one line on stderr and exit code 1, never a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> T:
        from deploy.embedded.process import EmbeddedError

        try:
            return command(*args, **kwargs)
        except (SettingsError, DefinitionError, EmbeddedError, LookupError) as error:
            raise click.ClickException(str(error)) from error
        except psycopg.OperationalError as error:
            raise click.ClickException(f"PostgreSQL: {str(error).splitlines()[0]}") from error
        except KafkaException as error:
            raise click.ClickException(f"Kafka: {error.args[0].str()}") from error

    return run


def _logging(level: str) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("headwater").setLevel(level)
    # Faust and aiokafka report every rebalance at these levels; what matters of it the lanes say themselves.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)


def _run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headwater")
def main() -> None:
    """Headwater: a customer-data pipeline on Kafka.

    \b
    Start everything on this machine:      headwater up
    See it work on real purchases:         headwater demo
    Look at a running installation:        headwater status
    """


@main.command()
@click.option("--definitions", type=click.Path(path_type=Path), help="Apply the definitions in this folder first.")
@click.option("--workers", multiple=True, metavar="STAGE=N", help="How many processes of a stage; 1 where not said.")
@_clear_errors
def up(definitions: Path | None, workers: tuple[str, ...]) -> None:
    """Start Kafka, PostgreSQL, the door and every stage; stop them all with Ctrl-C.

    Kafka and PostgreSQL are started here unless HEADWATER_KAFKA and HEADWATER_DATABASE_URL point elsewhere. Data stays
    in the data folder for the next time. Logs of each process lie in its folder `logs`.
    """
    from deploy.supervisor import parse_workers, run_up

    run_up(load_settings(), definitions, parse_workers(workers))


@main.command()
@_clear_errors
def services() -> None:
    """Start only embedded Kafka and PostgreSQL, ready for workers started by hand."""
    from deploy.supervisor import run_services

    run_services(load_settings())


@main.command()
@_clear_errors
def topics() -> None:
    """Create the topics of the catalogue that are missing."""
    from deploy.installation import create_topics

    made = create_topics(connected(load_settings()))
    click.echo(f"created {', '.join(made)}" if made else "all topics are there")


@main.command()
@_clear_errors
def migrate() -> None:
    """Bring PostgreSQL's schema up to date."""
    from deploy.installation import migrate_database

    applied = _run(migrate_database(connected(load_settings())))
    click.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show the difference.")
@click.option("--prune", is_flag=True, help="Remove definitions that are in no file.")
@_clear_errors
def apply(folder: Path, yes: bool, dry_run: bool, prune: bool) -> None:
    """Apply the definitions in FOLDER (YAML files); shows the difference first."""
    from deploy.installation import apply_folder

    def agreed(lines: list[str]) -> bool:
        click.echo("\n".join(lines) if lines else "nothing to change")
        return bool(lines) and not dry_run and (yes or click.confirm("Apply this?"))

    if _run(apply_folder(connected(load_settings()), folder, prune, agreed)):
        click.echo("applied; live everywhere within a second")


@main.command()
@_clear_errors
def ingest() -> None:
    """Serve the door: POST /track, /health, /ready, /metrics."""
    from deploy.wiring import run_door

    settings = connected(load_settings())
    _logging(settings.log_level)
    run_door(settings)


@main.command()
@click.argument("stage")
@_clear_errors
def worker(stage: str) -> None:
    """Run one process of STAGE. Start more of them to scale it: Kafka shares the partitions out."""
    from deploy.wiring import run_worker

    settings = connected(load_settings())
    _logging(settings.log_level)
    run_worker(stage, settings)


if __name__ == "__main__":
    main()
