"""The command `headwater`."""

from collections.abc import Mapping, Sequence
from importlib import import_module

import click

#: Module of deploy.commands to the commands in it. Only the one that is asked for is loaded.
COMMANDS: Mapping[str, Sequence[str]] = {
    "run": ("up", "services", "topics", "migrate", "apply", "ingest", "worker", "bridge", "metrics", "demo"),
    "look": ("status", "event", "events", "profile", "tail"),
    "failures": ("rejected", "dead-letters"),
    "operate": ("replay", "recover", "reprocess", "state-hash"),
    "rehearse": ("reshape", "rules"),
    "workflows": ("workflow", "actions", "secrets"),
    "destinations": ("destination",),
    "identity": ("identity", "merge", "unmerge", "export", "erase"),
    "write_keys": ("keys",),
    "event_types": ("event-types",),
}


class Commands(click.Group):
    """The commands of COMMANDS, by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for names in COMMANDS.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, names in COMMANDS.items():
            if cmd_name in names:
                commands: Sequence[click.Command] = import_module(f"deploy.commands.{module}").COMMANDS
                return next(command for command in commands if command.name == cmd_name)
        return None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="headwater")
def main() -> None:
    """Headwater: a customer-data pipeline on Kafka.

    \b
    Start everything on this machine:      headwater up
    See it work on real purchases:         headwater demo
    Look at a running installation:        headwater status

    Settings are environment variables HEADWATER_*, explained in deploy/settings.reference.env.
    """


if __name__ == "__main__":
    main()
