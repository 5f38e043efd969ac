"""Archive files: what is written is read, and trouble with the place is never taken for trouble with a payload."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

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


async def test_a_bucket_holds_the_same(tmp_path: Path):
    archive = Archive("memory://headwater-test")
    await archive.write(payloads(3, 4))
    assert list(archive.read()) == payloads(3, 4)


async def test_a_place_that_cannot_be_written_is_an_outage(tmp_path: Path):
    (tmp_path / "tracks").write_text("a file where a folder must be")
    with pytest.raises(Unavailable):
        await Archive(tmp_path.as_uri()).write(payloads(0))


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
