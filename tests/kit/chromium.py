"""Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from playwright.sync_api import Browser, sync_playwright

from deploy.embedded.process import locked
from tests.kit import borrowed

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: As root it has no sandbox; and it talks to nobody of its own accord.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@cache
def chromium() -> str:
    """The machine's; on Debian root can have it installed."""
    with locked(borrowed.cache() / "chromium.lock", "Chromium", borrowed.INSTALLED_WITHIN_S):
        if not _found():
            if os.geteuid() != 0 or not shutil.which("apt-get"):
                borrowed.missing("Chromium", f"none of {', '.join(_NAMES)} is on the path")
            for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
                borrowed.install(["apt-get", "--quiet", *command], "Chromium", DEBIAN_FRONTEND="noninteractive")
    return _found()


@contextmanager
def running() -> Iterator[Browser]:
    """A browser without a window."""
    program = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def _found() -> str:
    return next((path for name in _NAMES if (path := shutil.which(name))), "")
