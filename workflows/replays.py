"""Signs what is sent once more, and knows what it signed: anybody may write headers, only operators may replay."""

import hashlib
import hmac

import msgspec

from schemas.replays import Replay

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Replay).decode
_MAC_CHARS = 32


class Replays:
    """Headers of payloads that are sent again, under the installation's key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, replay: Replay, body: bytes | None) -> bytes:
        """The header's value for this body."""
        said = _encode(replay)
        return self._mac(said, body) + said

    def read(self, header: bytes, body: bytes | None) -> Replay | None:
        """What the header says, None where there is none or this installation did not sign it for this body."""
        mac, said = header[:_MAC_CHARS], header[_MAC_CHARS:]
        if not said or not hmac.compare_digest(mac, self._mac(said, body)):
            return None
        return _decode(said)

    def _mac(self, said: bytes, body: bytes | None) -> bytes:
        mac = hashlib.blake2b(said, key=self._key, digest_size=_MAC_CHARS // 2, person=b"replay")
        mac.update(b"\0" if body is None else b"\1" + body)
        return mac.hexdigest().encode()
