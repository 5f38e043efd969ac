"""The log of a process: lines for people, or JSON for machines. Never bodies, keys or addresses."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_FIELDS = frozenset((*vars(logging.makeLogRecord({})), "asctime", "message"))


def start_logging(level: str, form: str) -> None:
    """Write to stderr from now on; `form` is text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("headwater").setLevel(level)
    # Faust and aiokafka report every rebalance as a warning; what matters of it the lanes say themselves.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)


def _said(record: logging.LogRecord) -> dict[str, Any]:
    """What was logged beside the message, by name."""
    return {name: value for name, value in vars(record).items() if name not in _FIELDS}


class TextLines(logging.Formatter):
    """`time level logger: message name=value ...`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        # Whatever it is, it stays one line.
        beside = "".join(
            f" {name}={value if str(value).isprintable() else repr(value)}" for name, value in _said(record).items()
        )
        return super().formatMessage(record) + beside


class JsonLines(logging.Formatter):
    """An object a line; an exception's traceback is a field of it."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            **_said(record),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)
