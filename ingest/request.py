"""One request: what its head says, and its body, read no further than the limits."""

import zlib
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # its documented name

from ingest.deadlines import Deadlines
from ingest.refused import Refused
from schemas.limits import MAX_PARAMETERS, MAX_PIECES, MAX_TARGET_CHARS, SMALL_BODY_BYTES
from workflows.clients import address_of

#: A whole request must have arrived by then.
BODY_DEADLINE_S = 20.0


#: Headers that decide something: each comes once, in ASCII, or the request is refused so.
_DECIDING = {
    "authorization": (401, "invalid_write_key"),
    "origin": (403, "origin_denied"),
    "content-type": (415, "unsupported_media_type"),
    "content-encoding": (415, "unsupported_encoding"),
    **dict.fromkeys(("content-length", "expect", "host", "transfer-encoding"), (400, "invalid_header")),
    **dict.fromkeys(("webhook-id", "webhook-timestamp", "webhook-signature"), (400, "invalid_header")),
}


class Room:
    """How many bytes of bodies may be under way in the whole door."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, size: int) -> None:
        """Raises Refused where there is no room for so many."""
        if size > self.left:
            raise Refused(503, "overloaded", "too much is under way; send again with the same ids", 1)
        self.left -= size

    def give_back(self, size: int) -> None:
        self.left += size


class Request:
    """`scope` and `protocol` are RSGI's. So many `proxies` of one's own stand before the door."""

    __slots__ = (
        *("_deadlines", "_given", "_headers", "_protocol", "_proxies", "_query", "_room", "_scope"),
        *("id", "method", "outcome", "path", "sent", "taken"),
    )

    def __init__(self, id: str, scope: Any, protocol: Any, proxies: int, deadlines: Deadlines, room: Room) -> None:
        self.id, self._scope, self._protocol = id, scope, protocol
        self._proxies, self._deadlines, self._room = proxies, deadlines, room
        self.method: str = scope.method
        self.path: str = scope.path
        #: The scope makes a copy of them each time it is asked.
        self._given = scope.headers
        self._headers: dict[str, str] = {}
        self._query: dict[str, str] | None = None
        #: The body's bytes as they came, once they were read: what signatures are of.
        self.sent = b""
        #: How it ended, where the answer does not show it.
        self.outcome = ""
        #: So many bytes it has in the door's room, small ones not counted there.
        self.taken = 0

    def check_head(self) -> None:
        """Raises Refused for a head that could be read in two ways, or in none."""
        headers, items = self._given, self._given.items()
        names = self._headers = dict(items)
        # Values that are no ASCII are not among the items, repeated ones are twice.
        if len(names) != len(headers) or len(names) != len(items):
            for name, (status, code) in _DECIDING.items():
                if name in headers and (name not in names or len(headers.get_all(name)) > 1):
                    raise Refused(status, code, f"the header {name} comes once, in ASCII")
        if "host" not in names and self._scope.http_version == "1.1":
            raise Refused(400, "invalid_header", "a request names one host")
        if "transfer-encoding" in names and names["transfer-encoding"].strip().lower() != "chunked":
            raise Refused(400, "invalid_header", "a body comes as it is, or in chunks")
        if "expect" in names and names["expect"].strip().lower() != "100-continue":
            raise Refused(417, "expectation_failed", "nothing else is expected than 100-continue")

    def header(self, name: str) -> str:
        """A header's value; "" where there is none."""
        return self._headers.get(name, "")

    @property
    def scheme(self) -> str:
        """http, where it came so from whoever asks; https else, and where proxies of one's own stand between."""
        return "http" if self._scope.scheme == "http" and not self._proxies else "https"

    @property
    def address(self) -> str:
        """Whose request it is."""
        peer = self._scope.client.rsplit(":", 1)[0].strip("[]")
        forwarded = ",".join(self._given.get_all("x-forwarded-for")) if self._proxies else ""
        return address_of(peer, forwarded, self._proxies)

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of one that is repeated the last. Raises Refused."""
        if self._query is None:
            text: str = self._scope.query_string
            if len(text) > MAX_TARGET_CHARS or text.count("&") >= MAX_PARAMETERS:
                most = f"at most {MAX_PARAMETERS} parameters, {MAX_TARGET_CHARS} characters"
                raise Refused(400, "query_too_long", most)
            self._query = fields_of(text) if text else {}
        return self._query

    @property
    def has_body(self) -> bool:
        """Whether there is anything to read."""
        return self.header("content-length") not in ("", "0") or "transfer-encoding" in self._headers

    @property
    def content_type(self) -> str:
        """Without its parameters, lower-case."""
        return self.header("content-type").split(";")[0].strip().lower()

    async def body(self, types: Collection[str], most: int) -> bytes:
        """The body, inflated: of one of these content types, at most so many bytes on the wire and inflated.

        Raises Refused, at the first byte too many.
        """
        self._check_type(types)
        length = self.header("content-length")
        size = int(length) if length.isdigit() else None
        if size is not None and size > most:
            raise Refused(413, "body_too_large", f"a body may have {most} bytes")
        # What is small is read in one go: the server hands over each piece, and the end, at some cost.
        small = size is not None and size <= SMALL_BODY_BYTES
        try:
            self.sent = await self._deadlines.keep(self._protocol() if small else self._read(most))
        except TimeoutError as error:
            raise Refused(408, "request_timeout", "the body did not arrive in time") from error
        except ProtocolClosed as error:
            raise _incomplete() from error
        if not self._is_whole(length):
            raise _incomplete()
        encoding = self.header("content-encoding").strip().lower()
        if encoding in ("", "identity"):
            return self.sent
        if encoding != "gzip":
            raise Refused(415, "unsupported_encoding", "bodies may be compressed with gzip only")
        return self.inflated(self.sent, most)

    def inflated(self, data: bytes, most: int) -> bytes:
        """What one whole gzip member holds, nothing behind it, no more than `most` bytes. Raises Refused."""
        inflater = zlib.decompressobj(wbits=31)
        # Where there is no room, nothing is inflated only to be thrown away.
        fits = min(most, self._room.left + max(self.taken, SMALL_BODY_BYTES))
        try:
            body = inflater.decompress(data, fits + 1)
        except zlib.error as error:
            raise Refused(400, "bad_encoding", "the body is not gzip") from error
        if len(body) > most:
            raise Refused(413, "body_too_large", f"an inflated body may have {most} bytes")
        self.hold(len(body))
        if not inflater.eof or inflater.unused_data:
            raise Refused(400, "bad_encoding", "the gzip body is cut off, or something follows it")
        return body

    def hold(self, size: int) -> None:
        """What it has become takes so many bytes until it is answered. Raises Refused where there is no room."""
        if size <= self.taken:
            return
        # Small ones need no room: who holds it with large ones that do not end keeps nobody else out.
        if size > SMALL_BODY_BYTES:
            self._room.take(_beyond(size) - _beyond(self.taken))
        self.taken = size

    def _check_type(self, types: Collection[str]) -> None:
        given = self.header("content-type").lower()
        if given in types:  # nearly all
            return
        kind, *parameters = [part.strip() for part in given.split(";")]
        pairs = [part.partition("=") for part in parameters]
        charsets = {value.strip(' "') for name, _, value in pairs if name.strip() == "charset"}
        if kind not in types or charsets - {"utf-8", "utf8", "us-ascii"}:
            raise Refused(415, "unsupported_media_type", f"send Content-Type: {next(iter(types))}, in UTF-8")

    def _is_whole(self, length: str) -> bool:
        """Whether all of the body came: the server does not tell where the connection ended in it. JSON and gzip that
        are cut off show it themselves; what does not has to say its length."""
        if length:
            return len(self.sent) == int(length)
        return "transfer-encoding" not in self._headers or self.sent.startswith((b"{", b"[", b"\x1f\x8b"))

    async def _read(self, most: int) -> bytes:
        pieces: list[bytes] = []
        async for piece in self._protocol:
            size = len(piece)
            if self.taken + size > most or len(pieces) >= MAX_PIECES:
                raise Refused(
                    413, "body_too_large", f"a body may have {most} bytes, in no more than {MAX_PIECES} pieces"
                )
            self.hold(self.taken + size)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> None:
        """It is answered: others have its room."""
        if self.taken > SMALL_BODY_BYTES:
            self._room.give_back(_beyond(self.taken))
        self.taken = 0


def _incomplete() -> Refused:
    return Refused(400, "incomplete_body", "the body ended before its end; say its length")


def _beyond(size: int) -> int:
    return max(0, size - SMALL_BODY_BYTES)


def fields_of(text: str) -> dict[str, str]:
    """What a query or a form says, in UTF-8; of a field that is repeated the last. Raises Refused."""
    try:
        found = dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS))
    except ValueError as error:
        raise Refused(400, "invalid_form", f"at most {MAX_PARAMETERS} fields, URL-encoded UTF-8") from error
    return found
