"""Lines of the log: for people, and for machines."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from deploy.logs import JsonLines, TextLines, start_logging


@contextmanager
def logging_to(level: str, form: str) -> Iterator[io.StringIO]:
    """What is written to stderr once logging has begun; afterwards logging is as it was."""
    root, ours, theirs = logging.getLogger(), logging.getLogger("headwater"), logging.getLogger("aiokafka")
    before = root.handlers[:], root.level, ours.level, theirs.level
    root.handlers, stderr = [], sys.stderr
    sys.stderr = io.StringIO()
    try:
        start_logging(level, form)
        yield sys.stderr
    finally:
        sys.stderr = stderr
        root.handlers, root.level = before[0], before[1]
        ours.setLevel(before[2])
        theirs.setLevel(before[3])


def record(message: str = "refused", *args: Any, **beside: Any) -> logging.LogRecord:
    made = logging.LogRecord("headwater.door", logging.INFO, "f.py", 1, message, args, None)
    vars(made).update(beside)
    return made


def failed(message: str) -> logging.LogRecord:
    try:
        raise ValueError(message)
    except ValueError:
        made = record("cannot go on")
        made.exc_info = sys.exc_info()
        return made


def read(line: str) -> dict[str, Any]:
    """A line of JSON, which is one line."""
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_for_people_has_time_level_logger_message_and_what_was_said_beside_it() -> None:
    line = TextLines().format(record("refused %s", "it", request_id="a-1", status=401))
    time, words = line[:23], line[23:]
    assert words == " INFO headwater.door: refused it request_id=a-1 status=401"
    assert datetime.fromisoformat(time.replace(",", "."))


def test_a_line_for_machines_is_an_object_with_the_same() -> None:
    said = read(JsonLines().format(record("refused %s", "it", request_id="a-1", status=401)))
    assert said.pop("time")
    assert said == {
        "level": "INFO",
        "logger": "headwater.door",
        "message": "refused it",
        "request_id": "a-1",
        "status": 401,
    }


def test_the_time_for_machines_is_the_records_and_says_in_which_zone_it_is() -> None:
    made = record()
    found = datetime.fromisoformat(read(JsonLines().format(made))["time"])
    assert found.timestamp() == pytest.approx(made.created, abs=0.0015)
    assert found.tzinfo is not None


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_an_exception_is_told_with_where_it_came_from(form: logging.Formatter) -> None:
    text = form.format(failed("what went wrong"))
    if isinstance(form, JsonLines):
        said = read(text)
        assert said["message"] == "cannot go on"
        text = said["exception"]
    assert "Traceback (most recent call last):" in text
    assert "in failed" in text
    assert "ValueError: what went wrong" in text


@pytest.mark.parametrize(
    "value",
    [
        *(
            "two\nlines",
            'a "quoted" \\ one',
            "Ünïcode ☃ 🦀",
            "\x1b[31mred\x00",
            "",
            None,
            2**80,
            0.5,
            float("nan"),
            True,
        ),
        *(
            [1, {"a": None}],
            {"a": {"b": [1]}},
            b"\xff\x00",
            object(),
            {1: "one"},
            datetime(2026, 1, 2),
            ValueError("x"),
        ),
    ],
)
def test_whatever_is_said_is_one_line_of_json(value: Any) -> None:
    said = read(JsonLines().format(record("told", value=value)))
    assert (said["message"], "value" in said) == ("told", True)


def test_text_that_no_utf_8_can_hold_is_no_reason_to_lose_the_line() -> None:
    said = read(JsonLines().format(record("cannot read %s", "a\udcffb", path="\ud800")))
    assert said["message"].startswith("cannot read a")


def test_what_is_said_beside_a_message_takes_nothing_else_away() -> None:
    said = read(JsonLines().format(record("told", level="high", time="noon", logger="me")))
    assert (said["level"], said["logger"]) == ("INFO", "headwater.door")
    assert said["time"] != "noon"


def test_a_line_for_people_is_one_line_whatever_is_said() -> None:
    line = TextLines().format(record("told", value="a\n2026-01-01 INFO headwater: forged"))
    assert "\n" not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_logging_begins_in_the_form_and_with_the_level_that_the_settings_say(form: str) -> None:
    with logging_to("WARNING", form) as written:
        logging.getLogger("headwater.door").info("quiet")
        logging.getLogger("headwater.door").warning("loud", extra={"n": 1})
        logging.getLogger("aiokafka.cluster").warning("a rebalance")
        logging.getLogger("aiokafka.cluster").error("a fault")
        logging.getLogger("others").info("chatter")
    lines = written.getvalue().splitlines()
    assert len(lines) == 2
    if form == "json":
        assert [(read(line)["message"], read(line).get("n")) for line in lines] == [("loud", 1), ("a fault", None)]
    else:
        assert [line.partition(": ")[2] for line in lines] == ["loud n=1", "a fault"]


def test_debugging_shows_what_info_leaves_out() -> None:
    with logging_to("DEBUG", "json") as written:
        logging.getLogger("headwater").debug("fine")
    said = read(written.getvalue().strip())
    assert (said["level"], said["message"]) == ("DEBUG", "fine")
