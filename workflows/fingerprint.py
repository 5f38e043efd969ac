"""Tells a resend from an id that was used twice."""

from hashlib import blake2b

import msgspec


def fingerprint(raw: msgspec.Raw, session: str | None) -> str:
    """Hex of what the client sent for this event, its session included: equal for a resend, whatever batch it is in."""
    key = (session or "").encode()
    if len(key) > blake2b.MAX_KEY_SIZE:
        key = blake2b(key).digest()
    return blake2b(bytes(raw), digest_size=16, key=key).hexdigest()
