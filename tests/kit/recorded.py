"""Events that were recorded, beside those that were expected."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.kit.installation import Installation


class Event(NamedTuple):
    """What must have become of a call: of its context as much as counts."""

    type: str
    session: str | None
    properties: Mapping[str, Any]
    context: Mapping[str, Any]


def events(installation: Installation, source: str) -> list[Event]:
    """All of a source."""
    query = "select type, session_id, properties, context from events where source = %s order by 2, 1, id"
    return [Event(*row) for row in installation.sql(query, source)]


def differences(found: list[Event], expected: list[Event]) -> tuple[list[Event], list[Event]]:
    """Events that nobody expects, and expected ones that are not there. Beside what is expected, contexts may say more,
    and properties what PostHog's libraries add of their own (`$lib`)."""
    left, missing = list(found), []
    for event in expected:
        match = next((one for one in left if _is_like(one, event)), None)
        if match is None:
            missing.append(event)
        else:
            left.remove(match)
    return left, missing


def owner(installation: Installation, source: str, session: str) -> str:
    """The live profile of all events of a session; there is only one."""
    query = (
        "select distinct coalesce(p.merged_into, p.id)::text from events e join profiles p on p.id = e.profile_id "
        "where e.source = %s and e.session_id = %s"
    )
    return str(installation.one(query, source, session))


def identifiers(installation: Installation, profile: str) -> set[tuple[str, str]]:
    """(namespace, value) of all that lead to a live profile."""
    query = (
        "select i.namespace, i.value from identifiers i join profiles p on p.id = i.profile_id "
        "where coalesce(p.merged_into, p.id)::text = %s"
    )
    return {(namespace, value) for namespace, value in installation.sql(query, profile)}


def traits(installation: Installation, profile: str) -> dict[str, Any]:
    """What is known of a person; it is kept with what said it, and when."""
    kept = installation.one("select traits from profile_traits where profile_id::text = %s", profile)
    return {name: value for name, (value, *_) in kept.items()}


def _is_like(found: Event, expected: Event) -> bool:
    own = {name: value for name, value in found.properties.items() if name[0] != "$" or name in expected.properties}
    return (found.type, found.session, own) == (
        expected.type,
        expected.session,
        expected.properties,
    ) and expected.context.items() <= found.context.items()
