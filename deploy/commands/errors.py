"""What a user can mend is one line on stderr and exit code 1, never a traceback."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

T = TypeVar("T")


def clear_errors(command: Callable[..., T]) -> Callable[..., T]:
    """Turns the errors that name their own remedy into that one line."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> T:
        try:
            return command(*args, **kwargs)
        except Exception as error:
            from deploy.commands.remedies import remedy  # knows all that can fail: most commands need little of it

            if (line := remedy(error)) is None:
                raise
            raise click.ClickException(line) from error

    return run
