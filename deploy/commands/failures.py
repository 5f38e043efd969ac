"""Commands for what failed: `headwater rejected` and `headwater dead-letters`."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from deploy.commands.asking import ask, json_option, limit_option, print_json, table, text, time_of
from deploy.commands.errors import clear_errors
from deploy.keys import identity_key
from deploy.operations import failures
from deploy.operations.failures import Selection
from deploy.operations.repairing import REMOVED, repair
from deploy.operations.resending import resend
from deploy.settings import connected, load_settings

REJECTED, DEAD_LETTER = "rejected", "dead-letter"
_LISTED = ("open", "replayed", "dropped", "erased", "all")


@click.group()
def rejected() -> None:
    """Events that parsed and were wrong: look at them, repair them, send them again."""


@click.group("dead-letters")
def dead_letters() -> None:
    """Records that could not be processed: look at them, send them again, give them up."""


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--until", help="Failed before then; as --since."),
        click.option("--since", help="Failed since a time (ISO 8601), or for: 30m, 2h, 7d."),
        click.option("--type", "type_", help="Only this event type."),
        click.option("--source", help="Only this source."),
        click.option("--reason", help="Only with this reason code, as schema_invalid."),
        click.option("--stage", help="Only from this stage."),
    ):
        command = option(command)
    return command


def _selection(kind: str, places: tuple[str, ...] = (), **given: str | None) -> Selection:
    """The filters as given on the command line."""
    return Selection(
        kind,
        stage=given.get("stage"),
        reason=given.get("reason"),
        source=given.get("source"),
        type=given.get("type_"),
        since=time_of(given.get("since")),
        until=time_of(given.get("until")),
        places=list(places) or None,
    )


def _list(kind: str, nothing: str) -> click.Command:
    @click.command("list")
    @_filters
    @click.option("--state", type=click.Choice(_LISTED), default="open", show_default=True)
    @limit_option
    @json_option
    @clear_errors
    def command(state: str, limit: int, as_json: bool, **filters: Any) -> None:
        """List them, the latest first, with their reasons."""
        selection = _selection(kind, **filters)
        selection.state = None if state == "all" else state
        found = ask(lambda connection, admin: failures.listed(connection, selection, limit))
        if as_json:
            print_json(found)
            return
        header = ("failed at", "place", "stage", "source", "type", "id", "sent again", "reasons")
        lines = [
            (text(row["failed_at"]), row["place"], row["stage"], row["source"] or "-", row["type"] or "-",
             row["event_id"] or "-", str(row["attempt"] or "-"), "; ".join(map(_reason, row["reasons"])))
            for row in found
        ]  # fmt: skip
        click.echo("\n".join(table(lines, header)) if lines else nothing)

    return command


def _reason(reason: dict[str, str]) -> str:
    said = " ".join(part for part in (reason["code"], reason.get("path"), reason.get("exception")) if part)
    # A path has the sender's keys: what a terminal would obey is shown instead.
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in said)


def _show(kind: str) -> click.Command:
    @click.command("show")
    @click.argument("place")
    @json_option
    @clear_errors
    def command(place: str, as_json: bool) -> None:
        """One of them with its content, by its PLACE as `list` prints it. This prints personal data."""
        selection = _selection(kind, (place,))
        selection.state = None
        found = ask(lambda connection, admin: failures.shown(connection, selection))
        if found is None:
            raise click.ClickException(f"there is none at {place}")
        found["key"] = _readable(found["key"])
        found["content"] = _readable(found["content"])
        if as_json:
            print_json(found)
            return
        for name, value in found.items():
            click.echo(f"{name.replace('_', ' '):12} {'-' if value is None else text(value)}")

    return command


def _readable(data: bytes | None) -> Any:
    """JSON as JSON, text as text, bytes as hex."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bytes(data).decode() if _is_text(data) else bytes(data).hex()


def _is_text(data: bytes) -> bool:
    try:
        return bytes(data).decode().isprintable()
    except UnicodeDecodeError:
        return False


def _replay(kind: str) -> click.Command:
    @click.command("replay")
    @click.argument("places", nargs=-1)
    @_filters
    @click.option("--all", "all_", is_flag=True, help="All of them.")
    @click.option("--force", is_flag=True, help="Also those that failed too often, or whose source may not send.")
    @click.option("--dry-run", is_flag=True, help="Only say how many.")
    @json_option
    @clear_errors
    def command(
        places: tuple[str, ...], all_: bool, force: bool, dry_run: bool, as_json: bool, **filters: str | None
    ) -> None:
        """Send them again, those at PLACES or those that the filters name.

        Each keeps its origin, so it lands once, however often this is repeated; what fails again comes back.
        """
        settings = connected(load_settings())
        selection = _chosen(kind, places, all_, filters)
        done = asyncio.run(resend(settings, identity_key(settings), selection, force, dry_run))
        if as_json:
            print_json(done)
            return
        click.echo(f"would send {done.sent:,} again" if dry_run else _sent(kind, done.sent))
        for place, why in done.refused.items():
            click.echo(f"  left {place}: {why}")

    return command


def _sent(kind: str, count: int) -> str:
    group = REJECTED if kind == REJECTED else "dead-letters"
    where = f"; what fails again is back in `headwater {group} list`, `headwater event ID` shows one" if count else ""
    return f"sent {count:,} again{where}"


def _chosen(kind: str, places: tuple[str, ...], all_: bool, filters: dict[str, str | None]) -> Selection:
    if not places and not all_ and not any(filters.values()):
        raise click.ClickException("say which: PLACEs as `list` prints them, a filter, or --all")
    return _selection(kind, places, **filters)


def _drop(kind: str) -> click.Command:
    @click.command("drop")
    @click.argument("places", nargs=-1)
    @_filters
    @click.option("--all", "all_", is_flag=True, help="All of them.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @clear_errors
    def command(places: tuple[str, ...], all_: bool, yes: bool, **filters: str | None) -> None:
        """Give them up: their content is deleted for good. They stay in the accounting, as dropped."""
        selection = _chosen(kind, places, all_, filters)
        count, sending = ask(lambda connection, admin: failures.droppable(connection, selection))
        if count and (yes or click.confirm(f"Delete the content of {count:,}?")):
            count = ask(lambda connection, admin: failures.drop(connection, selection))
            click.echo(f"dropped {count:,}")
        elif not count and not sending:
            click.echo("there are none")
        if sending:
            click.echo(f"left {sending:,} that a replay was sending when it died: `replay` them, drop what comes back")

    return command


@click.command("repair")
@click.argument("place")
@click.option("--set", "changes", multiple=True, metavar="POINTER=JSON", help="As /properties/order/total=12.5.")
@click.option("--remove", "removals", multiple=True, metavar="POINTER", help="As /properties/order/note.")
@click.option("--payload", type=click.Path(path_type=Path, exists=True), help="Take this payload (one event) instead.")
@click.option("--replay", "then_replay", is_flag=True, help="And send it again.")
@clear_errors
def repair_command(
    place: str, changes: tuple[str, ...], removals: tuple[str, ...], payload: Path | None, then_replay: bool
) -> None:
    """Change the rejected event at PLACE, so that it can be sent again. Pointers are those of its reasons."""
    wanted: dict[str, Any] = dict.fromkeys(removals, REMOVED)
    wanted |= dict(map(_change, changes))
    if not wanted and payload is None:
        raise click.ClickException("say what to change: --set, --remove or --payload")
    body = payload.read_bytes() if payload else None
    event = ask(lambda connection, admin: repair(connection, place, wanted, body))
    click.echo(msgspec.json.format(msgspec.json.encode(event), indent=2).decode())
    if then_replay:
        settings = connected(load_settings())
        selection = _selection(REJECTED, (place,))
        done = asyncio.run(resend(settings, identity_key(settings), selection, False, False))
        if not done.sent:
            raise click.ClickException(f"not sent: {done.refused.get(place, 'it is not open')}")
        click.echo(_sent(REJECTED, done.sent))


def _change(given: str) -> tuple[str, Any]:
    pointer, equals, value = given.partition("=")
    if not equals:
        raise click.ClickException(f"--set {given}: write POINTER=JSON, as /properties/order/total=12.5")
    try:
        return pointer, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return pointer, value  # a word without quotation marks is meant as text


for group, kind, nothing in (
    (rejected, REJECTED, "nothing was rejected"),
    (dead_letters, DEAD_LETTER, "there are no dead letters"),
):
    for made in (_list(kind, nothing), _show(kind), _replay(kind), _drop(kind)):
        group.add_command(made)
rejected.add_command(repair_command)

COMMANDS = (rejected, dead_letters)
