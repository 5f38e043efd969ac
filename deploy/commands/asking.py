"""What all commands share that ask a running installation and print what it says."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec
import psycopg

from deploy.kafka import KafkaAdmin, kafka_admin
from deploy.settings import connected, load_settings
from processors.storage.database import Connection

T = TypeVar("T")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
limit_option = click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100_000))


def ask(question: Callable[[Connection, KafkaAdmin], Awaitable[T]]) -> T:
    """Ask PostgreSQL and Kafka of the installation that the settings name."""

    async def asked() -> T:
        settings = connected(load_settings())
        async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
            return await question(connection, kafka_admin(settings))

    return asyncio.run(asked())


def print_json(value: Any) -> None:
    """One line of JSON."""
    click.echo(msgspec.json.encode(value, enc_hook=str))


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> list[str]:
    """Columns as wide as they need to be; numbers to the right."""
    texts = [list(header)] + [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    right = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(header))]
    return [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in texts
    ]


def counted(count: int, what: str) -> str:
    """1 event, 1,200 events, no events."""
    return f"{f'{count:,}' if count else 'no'} {what}{'' if count == 1 else 's'}"


def time_of(given: str | None) -> datetime | None:
    """A time as people write it, or how long ago. Raises ClickException."""
    if given is None:
        return None
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    try:
        if given[-1:] in units and given[:-1].isdecimal():
            return datetime.now(UTC) - timedelta(**{units[given[-1]]: int(given[:-1])})
        time = datetime.fromisoformat(given)
    except (ValueError, OverflowError) as error:
        raise click.ClickException(f"{given} is no time: write it as 2026-01-31T12:00:00Z, or 30m, 2h, 7d") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def text(value: Any) -> str:
    """A value in a line of output."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)
