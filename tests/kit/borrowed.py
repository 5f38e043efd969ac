"""Programs that tests need and the product does not: found on the machine, or installed once."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import platformdirs
import pytest

INSTALLED_WITHIN_S = 600.0


def cache() -> Path:
    """Where they are kept, beside what the product itself fetches."""
    folder = platformdirs.user_cache_path("headwater")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def install(command: Sequence[str | Path], what: str, **variables: str) -> None:
    """Run what installs it; without it, tests that need it are not run, but in CI, where nothing may be missing."""
    environment: Mapping[str, str] = os.environ | variables
    try:
        subprocess.run(
            command,
            env=environment,
            check=True,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INSTALLED_WITHIN_S,
        )
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stdout", None) or ""
        missing(what, f"{error}\n{said if isinstance(said, str) else said.decode(errors='replace')}")


def missing(what: str, why: str) -> NoReturn:
    """It is not to be had here."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it: {why}")
    pytest.skip(f"NOT TESTED, {what} is missing: {why}")
