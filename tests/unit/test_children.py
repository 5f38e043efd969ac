"""Processes of `headwater up`. How they live and die is in e2e/test_up."""

from pathlib import Path

import pytest

from deploy.pipeline import Child


def test_a_process_that_cannot_be_started_is_told_and_tried_again_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = Child("validate", [str(tmp_path / "not-there")], {}, tmp_path / "validate.log")
    for _ in range(3):
        child.keep_running()
    assert capsys.readouterr().err == "validate cannot be started (No such file or directory); again in 15 s\n"
    assert child.pid is None
