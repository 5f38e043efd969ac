"""Who gave a command is noted, also where the system does not know their name."""

import pwd

import pytest

from deploy.operator_name import operator_name


@pytest.mark.parametrize("error", [KeyError("uid not found: 1000680000"), OSError("No username set")])
def test_who_has_no_name_is_noted_by_their_number(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nobody(uid: int) -> pwd.struct_passwd:
        raise error

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr("os.getuid", lambda: 1000680000)
    assert operator_name() == "uid 1000680000"


def test_who_has_a_name_is_noted_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert operator_name() == "ada"
