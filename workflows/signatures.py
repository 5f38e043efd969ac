"""Signatures of requests, both ways, as Standard Webhooks write them down (standardwebhooks.com, spec v1): HMAC-SHA256
over id, time and body. Pure."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable

#: A signature is good for so long, in seconds, before and after its time.
TOLERANCE_S = 300
#: Signatures of one request that are looked at: one for each secret of a sender that replaces one.
MAX_SIGNATURES = 10


def signed(id: str, timestamp: int, content: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """The headers for a request: signed by each secret, so that one may be replaced; none without secrets.

    Raises ValueError for what is no secret (base64, `whsec_` before it).
    """
    signatures = [f"v1,{_signature(secret, id, str(timestamp), content)}" for secret in secrets]
    if not signatures:
        return {}
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(signatures)}


def is_signed(id: str, timestamp: str, signatures: str, body: bytes, secrets: Iterable[str], now: float) -> bool:
    """Whether one of these signatures of the headers was made with one of the secrets, lately (`now`: Unix time)."""
    if not (id and timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(now - int(timestamp)) > TOLERANCE_S:
        return False
    given = [one.removeprefix("v1,") for one in signatures.split(" ")[:MAX_SIGNATURES] if one.startswith("v1,")]
    made = [_signature(secret, id, timestamp, body) for secret in secrets]
    return any(hmac.compare_digest(one.encode(), other.encode()) for one in given for other in made)


def _signature(secret: str, id: str, timestamp: str, content: bytes) -> str:
    encoded = secret.removeprefix("whsec_")
    key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    if not key:
        raise ValueError("a secret that is empty is none")
    return b64encode(hmac.digest(key, f"{id}.{timestamp}.".encode() + content, "sha256")).decode()
