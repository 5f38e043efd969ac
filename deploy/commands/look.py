"""Commands that look at a running installation. All take --json."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec
import psycopg

from deploy import reports
from deploy.commands.errors import clear_errors
from deploy.installation import kafka_admin
from deploy.kafka import KafkaAdmin
from deploy.settings import connected, load_settings

T = TypeVar("T")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_limit = click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100_000))


def _ask(question: Callable[[reports.Report, KafkaAdmin], Awaitable[T]]) -> T:
    async def ask() -> T:
        settings = connected(load_settings())
        async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
            return await question(connection, kafka_admin(settings))

    return asyncio.run(ask())


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value, enc_hook=str))


def _table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> list[str]:
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


@click.command()
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@_json
@clear_errors
def status(watch: bool, as_json: bool) -> None:
    """Each stage's lag, rate and dead letters, and the accounting of each source.

    accepted = recorded + duplicates + rejected + dead letters + under way: exactly, for every source.
    """
    before, then = None if as_json else _ask(reports.status), time.monotonic()
    while True:
        if not as_json:
            time.sleep(1)  # a rate needs two readings
        now, at = _ask(reports.status), time.monotonic()
        if as_json:
            sources = [{**msgspec.structs.asdict(one), "under_way": one.under_way} for one in now.sources]
            _print_json({**msgspec.structs.asdict(now), "sources": sources})
        else:
            lines = _status_lines(now, before, at - then)
            if watch:
                click.clear()
            click.echo("\n".join(lines))
        if not watch:
            return
        before, then = now, at


def _status_lines(now: reports.Status, before: reports.Status | None, seconds: float) -> list[str]:
    earlier = {stage.stage: stage.processed for stage in before.stages} if before else {}
    stages = [
        (
            stage.stage,
            stage.lag,
            round((stage.processed - earlier.get(stage.stage, stage.processed)) / seconds),
            stage.dead_letters,
            "never ran" if stage.idle_s is None else f"{stage.idle_s:.0f} s ago",
        )
        for stage in now.stages
    ]
    sources = [
        (s.source or "(unreadable)", s.accepted, s.recorded, s.duplicates, s.rejected, s.dead_letters, s.under_way)
        for s in now.sources
    ]
    header = ("source", "accepted", "= recorded", "+ duplicates", "+ rejected", "+ dead letters", "+ under way")
    return [
        *_table(stages, ("stage", "lag", "records/s", "dead letters", "last batch")),
        "",
        *(_table(sources, header) if sources else ["no events yet"]),
        "",
        f"{now.profiles:,} profiles, {now.events:,} events",
    ]


@click.command()
@click.argument("id")
@_json
@clear_errors
def event(id: str, as_json: bool) -> None:
    """Where the event with this ID is, and what became of it, stage by stage."""
    found = _ask(lambda connection, admin: reports.trace_event(connection, admin, id))
    if as_json:
        _print_json(found)
    elif not found:
        raise click.ClickException(f"no event {id!r} has been seen (it may still wait in `tracks` before validate)")
    for name, items in {} if as_json else found.items():
        for item in items:
            click.echo(f"{name.replace('_', ' ')}:")
            for field, value in item.items():
                if value is not None:
                    click.echo(f"  {field:12} {_text(value)}")


@click.command()
@click.option("--type", "type_", help="Only this event type.")
@click.option("--source", help="Only this source.")
@click.option("--since", help="A time (ISO 8601), or how long ago: 30m, 2h, 7d.")
@click.option("--profile", help="Only this profile (an id, live or merged).")
@click.option("--state", type=click.Choice(["received", "processed"]), help="Whether workflows ran for it.")
@_limit
@_json
@clear_errors
def events(
    type_: str | None,
    source: str | None,
    since: str | None,
    profile: str | None,
    state: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Browse recorded events, the latest first."""
    filters = {"type": type_, "source": source, "since": _since(since), "profile": profile, "state": state}
    found = _ask(lambda connection, admin: reports.browse_events(connection, limit, **filters))
    if as_json:
        _print_json(found)
    else:
        columns = ("received_at", "type", "source", "id", "profile", "state")
        rows = [[_text(row[column]) for column in columns] for row in found]
        click.echo("\n".join(_table(rows, columns)) if rows else "no such events")


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdigit() and text[-1] in units:
        return datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.ClickException(f"--since {text}: write a time as 2026-01-31T12:00:00Z, or 30m, 2h, 7d") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@click.command()
@click.argument("key", metavar="ID|NAMESPACE:VALUE")
@_json
@clear_errors
def profile(key: str, as_json: bool) -> None:
    """One profile: by its id (a merged one leads to its survivor), or by an identifier, as customer-id:00004."""
    found = _ask(lambda connection, admin: reports.profile(connection, key))
    if found is None:
        raise click.ClickException(f"there is no profile {key}")
    if as_json:
        _print_json(found)
        return
    for name, value in found.items():
        if isinstance(value, list) and value:
            click.echo(f"{name}:")
            for item in value:
                click.echo("  " + "  ".join(_text(part) for part in item.values() if part is not None))
        else:
            click.echo(f"{name + ':':12} {_text(value) if value else '-'}")


@click.group()
def rejected() -> None:
    """Events that parsed and were wrong."""


@rejected.command("list")
@click.option("--source", help="Only this source.")
@click.option("--type", "type_", help="Only this event type.")
@click.option("--reason", help="Only with this reason code, as schema_invalid.")
@_limit
@_json
@clear_errors
def rejected_list(source: str | None, type_: str | None, reason: str | None, limit: int, as_json: bool) -> None:
    """List them, the latest first, with their reasons."""
    filters = {"source": source, "type": type_, "reason": reason}
    found = _ask(lambda connection, admin: reports.rejected(connection, limit, **filters))
    if as_json:
        _print_json(found)
        return
    rows = [
        (
            _text(row["failed_at"]),
            row["source"],
            row["type"] or "-",
            row["event_id"],
            "; ".join(f"{one['code']} {one.get('path', '')}".strip() for one in row["reasons"]),
        )
        for row in found
    ]
    header = ("failed_at", "source", "type", "id", "reasons")
    click.echo("\n".join(_table(rows, header)) if rows else "nothing was rejected")


@click.command()
@click.argument("topic")
@click.option("--limit", default=5, show_default=True, type=click.IntRange(1, 100_000))
@clear_errors
def tail(topic: str, limit: int) -> None:
    """Print the last records of a TOPIC, as profile-changes or destination-crm: the values, one a line."""
    for value in _ask(lambda connection, admin: _last(admin, topic, limit)):
        click.echo(value)


async def _last(admin: KafkaAdmin, topic: str, limit: int) -> list[bytes]:
    ends = admin.end_offsets([topic])
    if not ends:
        raise LookupError(f"there is no topic {topic!r}")
    starts = {partition: max(0, end - limit - 1) for (_, partition), end in ends.items()}
    found = [(message.timestamp()[1], message.value() or b"") for message in admin.read(topic, starts)]
    return [value for _, value in sorted(found)[-limit:]]


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)


COMMANDS = (status, event, events, profile, rejected, tail)
