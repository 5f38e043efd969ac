"""Profile ids of our own making, and what hides identifiers: everything that the installation's key is for."""

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache

from workflows.identifiers import identifier_value

#: So many ids are remembered: who sends one event mostly sends more.
_REMEMBERED = 10_000


class ProfileIds:
    """Mints profile ids and knows its own. All doors and workers of an installation share one key.

    An id is a UUID: 12 bytes that follow from what it is minted for, 4 bytes of MAC over them. So a resend makes no
    second profile, and a forged id is told from ours without a database.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        #: The id for this source and session (or source and event), always the same one.
        self.mint: Callable[..., str] = lru_cache(_REMEMBERED)(self._mint)
        #: The id that a client means by the one that it sent.
        self._meant: Callable[[str, bool], str | None] = lru_cache(_REMEMBERED)(self._meant_by)

    def _mint(self, *what: str) -> str:
        name = hashlib.blake2b("\x1f".join(what).encode(), key=self._key, digest_size=12).hexdigest()
        return _dashed(name + self._mac(name))

    def hide(self, namespace: str, value: str) -> str:
        """A keyed hash of an identifier's value: the same value has the same, and nobody can read it back."""
        name = f"{namespace}\x1f{value}".encode()
        return hashlib.blake2b(name, key=self._key, digest_size=16, person=b"identifier").hexdigest()

    def is_ours(self, profile_id: str) -> bool:
        """Whether this installation minted the id."""
        digits = _digits(profile_id)
        return len(digits) == 32 and hmac.compare_digest(digits[24:].encode(), self._mac(digits[:24]).encode())

    def _mac(self, name: str) -> str:
        return hashlib.blake2b(name.encode(), key=self._key, digest_size=4, person=b"profile-id").hexdigest()

    def resolve(self, source: str, session: str | None, sent: str | None, event: str, client_made: bool) -> str:
        """The id to use: the sent one if ours, the one it maps to if clients may make them, else a minted one."""
        if sent is not None and (meant := self._meant(sent, client_made)):
            return meant
        if session is not None:
            return self.mint("session", source, session)
        return self.mint("event", source, event)

    def _meant_by(self, sent: str, client_made: bool) -> str | None:
        if self.is_ours(sent):
            return _dashed(_digits(sent))
        return self._mint("client", sent) if client_made and identifier_value(sent, "trim") else None


def _digits(profile_id: str) -> str:
    return profile_id.replace("-", "").lower()


def _dashed(digits: str) -> str:
    """As UUIDs are written; `str(UUID(...))` costs five times as much."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
