"""Which Python `make` takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy import choose_python

OWN = f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the system's Python."""
    python = tmp_path / "python3"
    python.write_text(OWN)
    python.chmod(0o755)
    monkeypatch.setattr(choose_python, "SYSTEM", str(python))
    monkeypatch.setattr(choose_python.platform, "machine", lambda: "x86_64")
    return python


def chosen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], compiled: str | None) -> str:
    monkeypatch.setattr(choose_python.sysconfig, "get_config_var", lambda name: compiled)
    choose_python.main()
    return capsys.readouterr().out.strip()


def test_the_systems_is_taken_where_the_paths_is_slow(system: Path, monkeypatch, capsys):
    assert chosen(monkeypatch, capsys, "'--enable-shared'") == str(system)


def test_a_fast_one_stays(system: Path, monkeypatch, capsys):
    assert chosen(monkeypatch, capsys, "'--enable-optimizations' '--with-lto'") == "python3"


@pytest.mark.parametrize("other", ["#!/bin/sh\nexit 1\n", None])
def test_a_slow_one_stays_where_the_system_has_none_that_fits(system: Path, other: str | None, monkeypatch, capsys):
    system.unlink()
    if other is not None:
        system.write_text(other)
        system.chmod(0o755)
    assert chosen(monkeypatch, capsys, None) == "python3"


def test_it_runs_where_nothing_is_installed():
    done = subprocess.run(
        [sys.executable, "-I", "-S", choose_python.__file__], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() in ("python3", "/usr/bin/python3")
