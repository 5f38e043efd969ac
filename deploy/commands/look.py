"""Commands that look at a running installation. All take --json."""

import time
from typing import Any

import click
import msgspec

from deploy.commands.asking import ask, counted, json_option, limit_option, print_json, table, text, time_of
from deploy.commands.errors import clear_errors
from deploy.kafka import kafka_admin
from deploy.operations import reports
from deploy.operations.identity import find
from deploy.operations.status import Status, Waiting, read_status
from deploy.records import coming, last
from deploy.settings import connected, load_settings
from processors.storage.database import Connection


@click.command()
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@json_option
@clear_errors
def status(watch: bool, as_json: bool) -> None:
    """How each stage stands, which lanes stopped and why, and the accounting of each source.

    accepted = recorded + duplicates + rejected + dead letters + dropped + under way: exactly, for every source.
    Redelivered, retries and fenced count since the installation began; their causes are in --json and /metrics.
    """
    before, then = None if as_json else ask(read_status), time.monotonic()
    while True:
        if not as_json:
            time.sleep(1)  # a rate needs two readings
        now, at = ask(read_status), time.monotonic()
        if as_json:
            sources = [{**msgspec.structs.asdict(one), "under_way": one.under_way} for one in now.sources]
            print_json({**msgspec.structs.asdict(now), "sources": sources})
        else:
            lines = _status_lines(now, before, at - then)
            if watch:
                click.clear()
            click.echo("\n".join(lines))
        if not watch:
            return
        before, then = now, at


def _status_lines(now: Status, before: Status | None, seconds: float) -> list[str]:
    earlier = {stage.stage: stage.processed for stage in before.stages} if before else {}
    stages = [
        (
            stage.stage,
            stage.lag,
            "-" if stage.oldest_s is None else f"{stage.oldest_s:,.1f} s",
            round((stage.processed - earlier.get(stage.stage, stage.processed)) / seconds),
            "never ran" if stage.idle_s is None else f"{stage.idle_s:.0f} s ago",
            stage.dead_letters,
            stage.redelivered,
            stage.retries.total(),
            stage.fenced,
        )
        for stage in now.stages
    ]
    sources = [
        (s.source or "(unreadable)", s.accepted, s.recorded, s.duplicates, s.rejected, s.dead_letters, s.dropped,
         s.under_way)
        for s in now.sources
    ]  # fmt: skip
    return [
        *table(stages, _STAGE_HEADER),
        "",
        *(table(sources, _SOURCE_HEADER) if sources else ["no events yet"]),
        "",
        f"{counted(now.profiles, 'profile')}, {counted(now.events, 'event')}",
        *_waiting(now.waiting),
        *[f"STOPPED  {stage.stage} {lane}" for stage in now.stages for lane in stage.stopped],
    ]


def _waiting(now: Waiting) -> list[str]:
    if not now.runs:
        return []
    overdue = "" if now.oldest_s is None else f", the oldest overdue for {now.oldest_s:.0f} s"
    return [f"{now.runs:,} workflow runs wait, for {now.calls:,} calls ({now.failing:,} tried again{overdue})"]


_STAGE_HEADER = (
    "stage",
    "lag",
    "oldest waits",
    "records/s",
    "last batch",
    "dead letters",
    "redelivered",
    "retries",
    "fenced",
)
_SOURCE_HEADER = (
    "source",
    "accepted",
    "= recorded",
    "+ duplicates",
    "+ rejected",
    "+ dead letters",
    "+ dropped",
    "+ under way",
)


_EVENT_COLUMNS = ("received_at", "type", "source", "id", "state")


@click.command()
@click.argument("id")
@json_option
@clear_errors
def event(id: str, as_json: bool) -> None:
    """Where the event with this ID is, and what became of it, stage by stage."""
    found = ask(lambda connection, admin: reports.trace_event(connection, admin, id))
    if as_json:
        print_json(found)
    elif not found:
        raise click.ClickException(
            f"no event {id!r} is known: it did not come, still waits in `tracks` for validate, or its person was erased"
        )
    for name, items in {} if as_json else found.items():
        for item in items:
            click.echo(f"{name.replace('_', ' ')}:")
            for field, value in item.items():
                if value is not None:
                    click.echo(f"  {field:12} {text(value)}")


@click.command()
@click.option("--type", "type_", help="Only this event type.")
@click.option("--source", help="Only this source.")
@click.option("--since", help="A time (ISO 8601), or how long ago: 30m, 2h, 7d.")
@click.option("--profile", help="Only this profile (an id, live or merged).")
@click.option("--state", type=click.Choice(["received", "processed"]), help="Whether workflows ran for it.")
@limit_option
@json_option
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
    filters = {"type": type_, "source": source, "since": time_of(since), "profile": profile, "state": state}
    found = ask(lambda connection, admin: reports.browse_events(connection, limit, **filters))
    if as_json:
        print_json(found)
    else:
        columns = (*_EVENT_COLUMNS[:-1], "profile", "state")
        rows = [[text(row[column]) for column in columns] for row in found]
        click.echo("\n".join(table(rows, columns)) if rows else "no such events")


@click.command()
@click.argument("key", metavar="ID|NAMESPACE:VALUE")
@click.option("--changes", is_flag=True, help="The change log: field, old, new, event and time, the latest first.")
@limit_option
@json_option
@clear_errors
def profile(key: str, changes: bool, limit: int, as_json: bool) -> None:
    """One profile: by its id (a merged one leads to its survivor), or by an identifier, as customer-id:00004."""
    settings = connected(load_settings())

    async def asked(connection: Connection) -> Any:
        id = (await find(connection, settings, key)).live
        if changes:
            return await reports.profile_changes(connection, id, limit)
        return await reports.profile(connection, id)

    found = ask(lambda connection, admin: asked(connection))
    if as_json:
        print_json(found)
        return
    if changes:
        columns = ("occurred_at", "field", "did", "old", "new", "type", "source", "event")
        lines = [[text(row[column]) for column in columns] for row in found]
        click.echo("\n".join(table(lines, columns)) if lines else "no changes")
        return
    for name, value in found.items():
        if isinstance(value, list) and value:
            parts = list(_EVENT_COLUMNS) if name == "events" else list(value[0])
            shown = table([[text(item[part]) for part in parts] for item in value], parts)
            click.echo("\n".join([f"{name}:", *(f"  {line}" for line in shown)]))
        else:
            click.echo(f"{name + ':':12} {text(value) if value else '-'}")


@click.command()
@click.argument("topic")
@click.option("--limit", default=5, show_default=True, type=click.IntRange(0, 100_000))
@click.option("--follow", is_flag=True, help="And those that come, until Ctrl-C.")
@clear_errors
def tail(topic: str, limit: int, follow: bool) -> None:
    """Print the last records of a TOPIC, as profile-changes or destination-crm: the values, one a line."""
    admin = kafka_admin(connected(load_settings()))
    ends = {partition: end for (_, partition), end in admin.end_offsets([topic]).items()}
    if not ends:
        raise LookupError(f"there is no topic {topic!r}")
    for message in last(admin, topic, limit):
        click.echo(message.value() or b"")
        ends[message.partition() or 0] = max(ends[message.partition() or 0], (message.offset() or 0) + 1)
    for message in coming(admin, topic, ends) if follow else ():
        click.echo(message.value() or b"")


COMMANDS = (status, event, events, profile, tail)
