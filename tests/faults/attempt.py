"""One experiment in a process and a folder of its own, with a limit of time."""

import ctypes
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from deploy.embedded.process import PR_SET_PDEATHSIG
from tests.faults.row import Row
from tests.faults.trial import Trial

_context = multiprocessing.get_context("spawn")


def attempt(name: str, seed: int, scale: float) -> Row:
    """Run one experiment in a process and a folder of its own. The folder stays only if something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix=f"headwater-{name.lower()}-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    print(f"{name}, seed {seed} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=carry_out, args=(theirs, name, folder, seed, scale), name=name)
    process.start()
    theirs.close()
    limit = 2400 if name == "X1" else 900 * max(scale, 0.4)  # a soak lasts half an hour whatever the scale
    try:
        row: Row = (
            ours.recv() if ours.poll(limit) else _without_a_word(name, seed, scale, f"not over after {limit:.0f} s")
        )
    except EOFError:
        row = _without_a_word(name, seed, scale, "its process ended")
    process.kill()  # with all that it started
    process.join()
    row.seconds = round(time.monotonic() - started, 1)
    if row.passed and not os.environ.get("KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"  its files stay in {folder}", file=sys.stderr)
    return row


def carry_out(result: Connection, name: str, folder: Path, seed: int, scale: float) -> None:
    """One experiment, in a process of its own: the row with all that it found, even where it could not go on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever ends the run ends all of it
    row = Row(name, seed, scale)
    try:
        importlib.import_module(f"tests.faults.experiments.{name.lower()}").run(Trial(name, folder, seed, scale, row))
    except Exception as error:
        traceback.print_exc()
        row.invalid.append(f"it could not be carried out: {type(error).__name__}: {str(error)[:1000]}")
    result.send(row)


def _without_a_word(name: str, seed: int, scale: float, why: str) -> Row:
    row = Row(name, seed, scale)
    row.invalid.append(why)
    return row
