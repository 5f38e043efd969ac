"""Settings, and where the services are: what a process is told is what was set, and is whole."""

from pathlib import Path

import pytest

from deploy.settings import Settings, SettingsError, connected, load_settings, write_running


def test_where_the_services_are_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Settings(data=tmp_path, kafka="k:1", database_url="postgresql://u@d/one")
    write_running(running)
    assert (tmp_path / "running.json").stat().st_mode & 0o777 == 0o600

    def full(path: Path, text: str, encoding: str | None = None) -> None:
        path.write_bytes(text.encode()[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError):
        write_running(running.model_copy(update={"database_url": "postgresql://u@d/two"}))
    assert connected(Settings(data=tmp_path)).database_url == "postgresql://u@d/one"
    assert [path.name for path in tmp_path.iterdir()] == ["running.json"]


@pytest.mark.parametrize("text", ["", '{"kaf', "[]", "\udcff"])
def test_a_file_that_does_not_say_where_the_services_are_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "running.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match=r"running\.json cannot be read"):
        connected(Settings(data=tmp_path))


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2%zz@h/db", "mysql://u:hunter2@h/db", "u:hunter2@h", "host=h password=hunter2 x"]
)
def test_what_is_wrong_with_the_database_s_url_is_said_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="HEADWATER_DATABASE_URL") as said:
        load_settings({"HEADWATER_DATABASE_URL": url})
    assert "hunter2" not in str(said.value)


def test_a_port_of_the_door_that_is_set_is_taken_whatever_runs_or_ran_here(tmp_path: Path) -> None:
    write_running(Settings(data=tmp_path, kafka="k:1", database_url="postgresql://u@d/one", http_port=8123))
    given = {"HEADWATER_DATA": str(tmp_path)}
    assert connected(load_settings(given)).http_port == 8123
    assert connected(load_settings(given | {"HEADWATER_HTTP_PORT": "9000"})).http_port == 9000
    own = {"HEADWATER_KAFKA": "own:1", "HEADWATER_DATABASE_URL": "postgresql://own@d/one"}
    assert connected(load_settings(given | own | {"HEADWATER_HTTP_PORT": "8080"})).http_port == 8080
