"""The command `headwater`."""

import click

from deploy.commands.destinations import COMMANDS as DESTINATIONS
from deploy.commands.event_types import COMMANDS as EVENT_TYPES
from deploy.commands.failures import COMMANDS as FAILURES
from deploy.commands.identity import COMMANDS as IDENTITY
from deploy.commands.look import COMMANDS as LOOK
from deploy.commands.operate import COMMANDS as OPERATE
from deploy.commands.rehearse import COMMANDS as REHEARSE
from deploy.commands.run import COMMANDS as RUN
from deploy.commands.workflows import COMMANDS as WORKFLOWS
from deploy.commands.write_keys import COMMANDS as WRITE_KEYS


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="headwater")
def main() -> None:
    """Headwater: a customer-data pipeline on Kafka.

    \b
    Start everything on this machine:      headwater up
    See it work on real purchases:         headwater demo
    Look at a running installation:        headwater status

    Settings are environment variables HEADWATER_*, explained in deploy/settings.reference.env.
    """


for command in (
    *RUN,
    *LOOK,
    *FAILURES,
    *OPERATE,
    *REHEARSE,
    *WORKFLOWS,
    *DESTINATIONS,
    *IDENTITY,
    *WRITE_KEYS,
    *EVENT_TYPES,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
