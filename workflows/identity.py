"""Whose events are these: profile ids of our own making, and identifiers and what never counts as one."""

import hashlib
import hmac
import re
from typing import Any

from schemas.limits import MAX_IDENTIFIER_CHARS

_MAC_CHARS = 8

#: Values that programs send where they have none. Compared lower-cased and trimmed; such a value never links anybody.
JUNK = frozenset(
    [
        "",
        "0",
        "-1",
        "null",
        "nil",
        "none",
        "undefined",
        "nan",
        "n/a",
        "na",
        "unknown",
        "anonymous",
        "guest",
        "true",
        "false",
        "[object object]",
        "{}",
        "[]",
        "test",
        "00000000-0000-0000-0000-000000000000",
        "not set",
        "(not set)",
        "not_set",
        "id",
        "user",
        "user_id",
        "userid",
        "distinct_id",
        "email",
    ]
)


class ProfileIds:
    """Mints profile ids and knows its own. All doors and workers of an installation share one key.

    An id is a UUID: 12 bytes that follow from what it is minted for, 4 bytes of MAC over them. So a resend makes no
    second profile, and a forged id is told from ours without a database.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mint(self, *what: str) -> str:
        """The id for this source and session (or source and event), always the same one."""
        name = hashlib.blake2b("\x1f".join(what).encode(), key=self._key, digest_size=12).hexdigest()
        return _dashed(name + self._mac(name))

    def is_ours(self, profile_id: str) -> bool:
        """Whether this installation minted the id."""
        digits = _digits(profile_id)
        return len(digits) == 32 and hmac.compare_digest(digits[24:].encode(), self._mac(digits[:24]).encode())

    def _mac(self, name: str) -> str:
        return hashlib.blake2b(name.encode(), key=self._key, digest_size=4, person=b"profile-id").hexdigest()

    def resolve(self, source: str, session: str | None, sent: str | None, event: str, client_made: bool) -> str:
        """The id to use: the sent one if ours, the one it maps to if clients may make them, else a minted one."""
        if sent is not None and self.is_ours(sent):
            return _dashed(_digits(sent))
        if sent is not None and client_made and identifier_value(sent, "trim"):
            return self.mint("client", sent)
        if session is not None:
            return self.mint("session", source, session)
        return self.mint("event", source, event)


def _digits(profile_id: str) -> str:
    return profile_id.replace("-", "").lower()


def _dashed(digits: str) -> str:
    """As UUIDs are written; `str(UUID(...))` costs five times as much."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def value_at(properties: Any, path: str) -> Any:
    """What lies at a dotted path (`customer.id`), None where nothing does."""
    for name in path.split("."):
        if not isinstance(properties, dict):
            return None
        properties = properties.get(name)
    return properties


def identifier_value(value: Any, normalise: str) -> str | None:
    """The one form of an identifier's value, None where it identifies nobody (missing, junk, not text or number)."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    if text.lower() in JUNK:
        return None
    if normalise == "lower":
        text = text.lower()
    elif normalise == "digits":
        text = re.sub(r"[^0-9+]", "", text)
    if text.strip("+") in JUNK or len(text) > MAX_IDENTIFIER_CHARS or not text.isprintable():
        return None
    return text
