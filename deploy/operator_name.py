"""Who gives a command: noted with what it changes."""

import getpass
import os


def operator_name() -> str:
    """The user's name; their number where the system has no name for it, as in most containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of them depends on the version of Python
        return f"uid {os.getuid()}"
