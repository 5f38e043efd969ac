"""For tests of actions: run one over made-up data, look at what it decides."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from schemas.events import AcceptedEvent
from schemas.origin import Origin
from workflows.actions.action import Action, Outcome, Run
from workflows.profile import ProfileState, Trait


def run_action(
    action: Action[Any],
    config: Mapping[str, Any],
    properties: Mapping[str, Any] | None = None,
    traits: Mapping[str, Any] | None = None,
    counters: Mapping[str, int] | None = None,
    type: str = "test-event",
) -> Outcome:
    """What `action` with these settings decides about an event with these properties, of a profile with these traits.

    Raises pydantic.ValidationError for settings that the action refuses, and whatever the action raises.
    """
    now = datetime(2026, 1, 1, tzinfo=UTC)
    event = AcceptedEvent(
        origin=Origin(0, 0, 0),
        id="event-1",
        fingerprint="",
        source="test",
        type=type,
        profile="profile-1",
        occurred_at=now,
        received_at=now,
        properties=msgspec.Raw(msgspec.json.encode(dict(properties or {}))),
        counters=dict(counters or {}),
    )
    state = ProfileState({name: Trait(value, 0, "") for name, value in (traits or {}).items()}, {})
    return action.run(action.Config.model_validate(dict(config)), Run(event, state))
