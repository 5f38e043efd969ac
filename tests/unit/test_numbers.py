"""The door's numbers, of one door and of several that share a port."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ingest.door import Door
from ingest.numbers import Numbers


def told(numbers: Numbers) -> dict[str, Any]:
    registry = CollectorRegistry()
    registry.register(numbers)
    return {
        "accepted": registry.get_sample_value("headwater_door_events_total", {"source": "shop", "verdict": "accepted"}),
        "requests": registry.get_sample_value("headwater_door_requests_total", {"outcome": "accepted"}),
        "quick": registry.get_sample_value("headwater_door_seconds_bucket", {"le": "0.01"}),
        "answers": registry.get_sample_value("headwater_door_seconds_count"),
    }


def take(numbers: Numbers, events: int, seconds: float = 0.005) -> None:
    numbers.count("shop", events, 0)
    numbers.requests["accepted"] += 1
    numbers.took(seconds)


def test_a_door_alone_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    alone = Numbers()
    take(alone, 3)
    alone.keep()
    assert told(alone) == {"accepted": 3, "requests": 1, "quick": 1, "answers": 1}
    assert not list(tmp_path.iterdir())


def test_whoever_is_asked_tells_of_all_doors_and_a_sum_never_falls(tmp_path: Path) -> None:
    doors = [Numbers(tmp_path / "doors" / f"{n}.numbers") for n in range(3)]
    before, total = 0, 0
    for round in range(1, 13):
        take(doors[round % 3], round)
        total += round
        if round % 2:
            doors[round % 3].keep()
        for asked in (round, round + 1):  # the one that has just counted, then one that knows of it from its file alone
            now = told(doors[asked % 3])["accepted"] or 0
            assert before <= now <= total
            before = now
    for door in doors:
        door.keep()
    assert [told(door) for door in doors] == [{"accepted": 78, "requests": 12, "quick": 12, "answers": 12}] * 3


def test_a_door_that_is_started_again_goes_on_from_what_it_kept(tmp_path: Path) -> None:
    first, other = Numbers(tmp_path / "a.numbers"), Numbers(tmp_path / "b.numbers")
    take(first, 5)
    first.keep()
    take(first, 100)  # and is killed
    again = Numbers(tmp_path / "a.numbers")
    take(again, 2, seconds=0.5)
    assert told(other)["accepted"] == 5
    assert told(again) == {"accepted": 7, "requests": 2, "quick": 1, "answers": 2}


@pytest.mark.parametrize(
    "left",
    [b"", b"\x81", b"\x81\xa8by_bound\x93\x01\x02\x03", b"\x81\xa8requests\x81\xa1a\xa1b", b"\x81\xa1\xff\x01"],
)
def test_a_file_that_cannot_be_read_counts_nothing(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a.numbers").write_bytes(left)
    (tmp_path / "b.numbers").write_bytes(left)
    door = Numbers(tmp_path / "a.numbers")
    take(door, 4)
    assert told(door)["accepted"] == 4


def test_numbers_that_cannot_be_written_are_not_told_and_come_later(tmp_path: Path) -> None:
    """A sum without what this door has counted would stand still, or fall."""
    door = Numbers(tmp_path / "a.numbers")
    take(door, 4)
    (tmp_path / "a.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        told(door)
    (tmp_path / "a.new").rmdir()
    assert told(door)["accepted"] == 4


def test_where_no_file_can_be_it_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="taken"):
        Numbers(tmp_path / "taken" / "a.numbers")


async def test_a_slow_disk_holds_up_who_asks_for_the_numbers_and_nobody_else(tmp_path: Path) -> None:
    slow, free = tmp_path / "slow.numbers", threading.Event()
    nothing: Any = None
    os.mkfifo(slow)  # who reads it waits for who writes it

    def write() -> bool:
        was_free = free.wait(10)
        slow.write_bytes(b"")
        return was_free

    writing = asyncio.get_running_loop().run_in_executor(None, write)
    door = Door(nothing, nothing, nothing, nothing, Numbers(tmp_path / "a.numbers"))
    asked = asyncio.create_task(door._metrics())
    await asyncio.sleep(0)
    free.set()
    status, _, _ = await asked
    assert (status, await writing) == (200, True)
