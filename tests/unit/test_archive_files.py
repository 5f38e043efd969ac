"""Archive files: what is written is read, and trouble with the place is never taken for trouble with a payload."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
import pytest

from deploy.settings import Settings
from processors.connectors.archive import Archive
from processors.runner.failures import Unavailable, unavailable_cause
from schemas.events import TrackedPayload

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def payloads(*offsets: int) -> list[TrackedPayload]:
    return [TrackedPayload(0, offset, NOON, b"{%d}" % offset, b"key", 1, "http") for offset in offsets]


async def test_files_that_overlap_are_read_each_place_once(tmp_path: Path):
    archive = Archive(tmp_path.as_uri())
    await archive.write(payloads(0, 1, 2))
    await archive.write(payloads(0, 1, 2, 3, 5))
    await archive.write(payloads(6))
    assert list(archive.read()) == payloads(0, 1, 2, 3, 5, 6)


@pytest.mark.parametrize("name", ["my data", "Köln", "da[t]a", "100%", "a#b?c", "50%20", "star*", "~a"])
async def test_a_folder_of_any_name_holds_its_archive_and_nothing_lies_beside_it(tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    archive = Archive(Settings(data=data).archive())
    await archive.write(payloads(0))
    await archive.write(payloads(1))
    assert list(archive.read()) == payloads(0, 1)
    assert archive.rewrite({(0, 0): lambda body: None}) == 1
    assert archive.last(0) == payloads(1)[0]
    assert os.listdir(tmp_path) == [name]
    assert len(list((data / "archive").rglob("*.avro"))) == 2


@pytest.mark.parametrize("name", ["my data", "da[t]a", "100%", "a#b?c"])
async def test_a_url_that_was_written_as_the_folder_is_called_means_that_folder(tmp_path: Path, name: str) -> None:
    archive = Archive(f"file://{tmp_path}/{name}")
    await archive.write(payloads(0))
    assert list(archive.read()) == payloads(0)
    assert os.listdir(tmp_path) == [name]


async def test_an_archive_that_lies_in_a_folder_with_an_encoded_name_is_still_found_there(tmp_path: Path) -> None:
    (tmp_path / "my%20data").mkdir()
    archive = Archive((tmp_path / "my data").as_uri())
    await archive.write(payloads(0))
    assert list(archive.read()) == payloads(0)
    assert os.listdir(tmp_path) == ["my%20data"]


@pytest.mark.parametrize("bucket", ["memory://headwater-test", "memory://headwater/[test]"])
async def test_a_bucket_holds_the_same(bucket: str) -> None:
    archive = Archive(bucket)
    await archive.write(payloads(3, 4))
    assert list(archive.read()) == payloads(3, 4)


async def test_a_place_that_cannot_be_written_is_an_outage(tmp_path: Path):
    (tmp_path / "tracks").write_text("a file where a folder must be")
    with pytest.raises(Unavailable):
        await Archive(tmp_path.as_uri()).write(payloads(0))


async def test_nothing_is_left_of_a_file_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    archive = Archive(tmp_path.as_uri())
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable):
        await archive.write(payloads(0))
    assert os.listdir(tmp_path / "tracks" / "0") == []


async def test_erasing_removes_what_a_killed_writer_left_and_nothing_that_is_being_written(tmp_path: Path) -> None:
    archive = Archive(tmp_path.as_uri())
    await archive.write(payloads(0, 1))
    left, under_way = (tmp_path / "tracks" / "0" / name for name in ("0-1.old.part", "2-3.new.part"))
    for path in (left, under_way):
        path.write_bytes(b"personal data")
    os.utime(left, (0, 0))
    archive.rewrite({(0, 1): lambda body: None})
    assert not left.exists()
    assert under_way.exists()
    assert list(archive.read()) == payloads(0)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (psycopg.errors.UndefinedTable, "postgresql 42P01"),
        (psycopg.errors.InsufficientPrivilege, "postgresql 42501"),
        (psycopg.errors.IndexCorrupted, "postgresql XX002"),
        (psycopg.errors.AdminShutdown, "postgresql 57P01"),
        (psycopg.errors.UniqueViolation, None),
        (psycopg.errors.UntranslatableCharacter, None),
        (psycopg.errors.ProgramLimitExceeded, None),
    ],
)
def test_what_postgresql_would_say_of_every_record_is_no_fault_of_the_record(
    error: type[psycopg.Error], cause: str | None
) -> None:
    assert unavailable_cause(error()) == cause


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), TimeoutError(), ConnectionResetError()])
def test_the_world_s_errors_are_outages(error: OSError):
    assert unavailable_cause(error) is not None


async def test_whose_request_it_was_is_kept_and_goes_with_what_is_taken_out_of_its_payload(tmp_path: Path):
    archive = Archive(tmp_path.as_uri())
    kept = [msgspec.structs.replace(one, client=b'{"ip":"::1"}') for one in payloads(0, 1)]
    await archive.write(kept)
    assert list(archive.read()) == kept
    archive.rewrite({(0, 1): lambda body: b"rest"})
    assert [(one.body, one.client) for one in archive.read()] == [(kept[0].body, kept[0].client), (b"rest", b"")]
