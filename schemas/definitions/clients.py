"""Who is who for clients of Segment, RudderStack and PostHog: what `{kind: predefined, id: clients}` stands for.

The door writes into each event's context what its library says: `user_id` and `anonymous_id`.
"""

from typing import Any

from schemas.definitions.automation import ProfileMapping
from schemas.definitions.identity import IdentificationPoint, Namespace


def _either(where: str, *names: str) -> str:
    """The first of these traits that is there: libraries spell them in several ways."""
    *first, last = [f"{where}.{name}" for name in names]
    return " : ".join([*(f"has({name}) ? {name}" for name in first), last])


_NAMES = {
    **{name: (name,) for name in ("email", "phone", "name", "username", "title", "company", "birthday")},
    "first_name": ("first_name", "firstName"),
    "last_name": ("last_name", "lastName"),
    "city": ("city", "address.city"),
    "country": ("country", "address.country"),
    "signed_up_at": ("created_at", "createdAt"),
}


def _traits(where: str) -> dict[str, Any]:
    return {trait: _either(where, *names) for trait, names in _NAMES.items()}


CLIENTS: list[Namespace | IdentificationPoint | ProfileMapping] = [
    Namespace(id="user-id", description="What the application calls its users: one person has one", unique=True),
    Namespace(id="anonymous-id", description="A browser or an app, before and after somebody signs in"),
    IdentificationPoint.model_validate(
        {
            "id": "clients",
            "event_type": "*",
            "identifiers": [
                {"namespace": "user-id", "context": "user_id"},
                {"namespace": "anonymous-id", "context": "anonymous_id"},
            ],
        }
    ),
    IdentificationPoint.model_validate(
        {
            "id": "clients-alias",
            "event_type": "alias",
            "identifiers": [{"namespace": "anonymous-id", "property": "previous_id"}],
        }
    ),
    ProfileMapping.model_validate(
        {
            "id": "clients-identify",
            "event_type": "identify",
            "set": _traits("event.properties"),
            "set_if_empty": _traits("event.properties.set_once"),
        }
    ),
    ProfileMapping.model_validate(
        {
            "id": "clients-group",
            "event_type": "group",
            "append": {"groups": "event.properties.group_id"},
        }
    ),
]
