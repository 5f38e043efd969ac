"""From messages of others to payloads: names, ids, and which messages travel together."""

import contextlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from ingest.refused import Refused
from schemas.limits import MAX_BODY_BYTES, MAX_EVENTS, MAX_ID_CHARS, MAX_TYPE_CHARS
from schemas.payload import normalise_type
from workflows.identifiers import identifier_value

_NOT_IN_A_TYPE = re.compile(r"[^a-z0-9._:-]+")
#: Of a longer name only the beginning makes the type.
_NAMES_CHARS = 4 * MAX_TYPE_CHARS
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
NOTHING = msgspec.Raw(b"{}")

#: The fields of an event of ours.
Event = dict[str, Any]
#: Makes the keyed hash of a value of a kind.
Hide = Callable[[str, str], str]
#: An event as it is written, and which of the messages it was.
Placed = tuple[int, msgspec.Raw]


class Translated(msgspec.Struct):
    """One message: its event, of which session and client profile id, and when it was sent by the sender's clock."""

    event: Event | msgspec.Raw
    session: Any = None
    sent_at: Any = None
    profile: str | None = None
    #: It is of nobody: no session and no profile.
    nobodys: bool = False


def payloads(messages: Iterable[Translated], source: str) -> list[bytes]:
    """One payload for each session, its events in their order. Raises Refused for an event that no record can hold."""
    return [body for body, _ in placed(messages, source)]


def placed(messages: Iterable[Translated], source: str) -> list[tuple[bytes, list[int]]]:
    """The payloads, each with the places that its events have among the messages. Raises Refused."""
    groups: list[tuple[bytes, list[Placed]]] = []
    #: The last group of each session: what comes later of it may not go before.
    last: dict[Any, tuple[bytes, list[Placed]]] = {}
    for place, message in enumerate(messages):
        event, head = _encode(message.event), _encode(_head(message, source))
        if len(event) + len(head) > MAX_BODY_BYTES - _AROUND:
            raise Refused(413, "event_too_large", f"an event and a record may have {MAX_BODY_BYTES} bytes")
        group = last.get(message.session)
        if group is None or group[0] != head:
            group = last[message.session] = (head, [])
            groups.append(group)
        group[1].append((place, msgspec.Raw(event)))
    return [
        (
            head[:-1] + b',"events":' + _encode([event for _, event in events]) + b"}",
            [place for place, _ in events],
        )
        for head, group in groups
        for events in _portions(group, len(head))
    ]


#: What stands around the events of a payload, at most.
_AROUND = 100


def _head(message: Translated, source: str) -> dict[str, Any]:
    """What messages have in common that travel together."""
    head: dict[str, Any] = {"source": {"id": source}}
    if message.session is not None:
        head["session"] = {"id": message.session}
    if message.profile is not None:
        head["profile"] = {"id": message.profile}
    if message.nobodys:
        head["profile_less"] = True
    if message.sent_at is not None:
        head["sent_at"] = message.sent_at
    return head


def _portions(events: list[Placed], beside: int) -> list[list[Placed]]:
    """As many together as a record holds that has so many bytes beside them."""
    beside += _AROUND
    portions: list[list[Placed]] = [[]]
    size = beside
    for place, event in events:
        length = len(bytes(event)) + 1
        if size + length > MAX_BODY_BYTES or len(portions[-1]) == MAX_EVENTS:
            portions.append([])
            size = beside
        portions[-1].append((place, event))
        size += length
    return portions


def type_of(name: Any) -> Any:
    """An event type for a name, whatever characters it has; what is no text stays what it is, and is refused later.

    `Signed Up!` is `signed-up`, `Größe gewählt` `grosse-gewahlt`; a name without any letter of ours has a hash.
    """
    if not isinstance(name, str) or normalise_type(name):
        return name
    # Cut first: to normalise may take the square of what is sent, and nobody else is answered meanwhile.
    begin = name.strip()[:_NAMES_CHARS].casefold()
    plain = unicodedata.normalize("NFKD", begin).encode("ascii", "ignore").decode()
    found = _NOT_IN_A_TYPE.sub("-", plain).strip("-._:")[:MAX_TYPE_CHARS].rstrip("-._:")
    if found or not name.strip():
        return found
    return f"event-{blake2b(name.strip().encode('utf-8', 'replace'), digest_size=6).hexdigest()}"


def id_of(value: Any) -> str | None:
    """An id that somebody sent, as text; None where it is none (missing, or what programs write for that)."""
    return identifier_value(value, "trim")


def session_of(device: Any, user: Any, hide: Hide) -> str | None:
    """The session of a device; of a user, where no device is named: that one does not show whose it is. None without
    both."""
    device_id, user_id = id_of(device), id_of(user)
    if device_id is None and user_id is None:
        return None
    session = device_id if device_id is not None else f"user:{hide('session', user_id or '')}"
    return session if len(session) <= MAX_ID_CHARS else f"long:{blake2b(session.encode(), digest_size=20).hexdigest()}"


def each(raws: Iterable[msgspec.Raw], translate: Callable[[msgspec.Raw], Translated]) -> list[Translated]:
    """Each message translated. What is no object, or holds what readers of JSON stumble over, goes as it is: it is
    rejected for that, with its reason, and kept."""
    found = []
    for raw in raws:
        try:
            found.append(translate(raw))
        except msgspec.DecodeError:
            found.append(Translated(raw, nobodys=True))
    return found


def texts(raws: Iterable[msgspec.Raw], find: Callable[[msgspec.Raw], Iterable[Any]]) -> set[str]:
    """The texts that are found in messages; nothing in those that cannot be read."""
    found: set[str] = set()
    for raw in raws:
        with contextlib.suppress(msgspec.DecodeError):
            found |= {value for value in find(raw) if isinstance(value, str) and value}
    return found


def fields(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """An object's fields, as they are written; nothing of what is missing; None where it is no object."""
    written = bytes(raw)
    if written == b"null":
        return {}
    return _object(raw) if written.startswith(b"{") else None


def written(value: Any) -> msgspec.Raw:
    """A value as JSON, to stand among others that stay as they were written."""
    return msgspec.Raw(_encode(value))
