"""Makers of what the unit tests feed in: only what matters to a test is written in the test."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from schemas.definitions import DEFINITION
from schemas.events import AcceptedEvent
from schemas.origin import Origin
from workflows.actions.builtin import load_actions
from workflows.definitions import Definitions

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def moment(seconds: float) -> datetime:
    """A time: this many seconds into 2026."""
    return EPOCH + timedelta(seconds=seconds)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def event(number: int = 0, **fields: Any) -> AcceptedEvent:
    """An event that came `number` seconds into 2026; properties and context may be given as plain values."""
    for name in ("properties", "context"):
        if name in fields:
            fields[name] = raw(fields[name])
    defaults: dict[str, Any] = {
        "origin": Origin(0, number, 0),
        "id": f"event-{number}",
        "fingerprint": f"{number:032x}",
        "source": "shop",
        "type": "page-view",
        "occurred_at": moment(number),
        "received_at": moment(number),
    }
    return AcceptedEvent(**{**defaults, **fields})


def definitions(*bodies: dict[str, Any]) -> Definitions:
    """Definitions as they would be written in YAML, compiled, with the built-in actions."""
    return Definitions([DEFINITION.validate_python(body) for body in bodies], load_actions())
