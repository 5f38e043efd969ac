"""One request: what its head says, and its body, read no further than the limits."""

import zlib
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from ingest.deadlines import Deadlines
from ingest.refused import Refused
from schemas.limits import MAX_PARAMETERS, MAX_TARGET_CHARS
from workflows.clients import address_of

#: A whole request must have arrived by then.
BODY_DEADLINE_S = 20.0


class Request:
    """`scope` and `protocol` are RSGI's. So many `proxies` of one's own stand before the door."""

    __slots__ = ("_deadlines", "_protocol", "_proxies", "_query", "_scope", "id", "method", "path", "sent")

    def __init__(self, id: str, scope: Any, protocol: Any, proxies: int, deadlines: Deadlines) -> None:
        self.id, self._scope, self._protocol = id, scope, protocol
        self._proxies, self._deadlines = proxies, deadlines
        self.method: str = scope.method
        self.path: str = scope.path
        self._query: dict[str, str] | None = None
        #: The body's bytes as they came, once they were read: what signatures are of.
        self.sent = b""

    def header(self, name: str) -> str:
        """A header's value, the first where it is repeated; "" where there is none."""
        value: str | None = self._scope.headers.get(name)
        return value or ""

    @property
    def scheme(self) -> str:
        """http or https, as it reached the door."""
        return str(self._scope.scheme)

    @property
    def address(self) -> str:
        """Whose request it is."""
        peer = self._scope.client.rsplit(":", 1)[0].strip("[]")
        forwarded = ",".join(self._scope.headers.get_all("x-forwarded-for")) if self._proxies else ""
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
    def content_type(self) -> str:
        """Without its parameters, lower-case."""
        return self.header("content-type").split(";")[0].strip().lower()

    async def body(self, types: Collection[str], most: int) -> bytes:
        """The body, inflated: of one of these content types, at most so many bytes on the wire and inflated.

        Raises Refused, at the first byte too many.
        """
        self._check_type(types)
        length = self.header("content-length")
        if length.isdigit() and int(length) > most:
            raise Refused(413, "body_too_large", f"a body may have {most} bytes")
        try:
            self.sent = await self._deadlines.keep(self._read(most))
        except TimeoutError as error:
            raise Refused(408, "request_timeout", "the body did not arrive in time") from error
        encoding = self.header("content-encoding").strip().lower()
        if encoding in ("", "identity"):
            return self.sent
        if encoding != "gzip":
            raise Refused(415, "unsupported_encoding", "bodies may be compressed with gzip only")
        return inflated(self.sent, most)

    def _check_type(self, types: Collection[str]) -> None:
        given = self.header("content-type").lower()
        if given in types:  # nearly all
            return
        kind, *parameters = [part.strip() for part in given.split(";")]
        charsets = [one[8:].strip('"') for one in parameters if one.startswith("charset=")]
        if kind not in types or any(charset not in ("utf-8", "utf8", "us-ascii") for charset in charsets):
            raise Refused(415, "unsupported_media_type", f"send {next(iter(types))} in UTF-8")

    async def _read(self, most: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in self._protocol:
            size += len(chunk)
            if size > most:
                raise Refused(413, "body_too_large", f"a body may have {most} bytes")
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def inflated(data: bytes, most: int) -> bytes:
    """What one whole gzip member holds, nothing behind it, no more than `most` bytes. Raises Refused."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        body = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise Refused(400, "bad_encoding", "the body is not gzip") from error
    if len(body) > most:
        raise Refused(413, "body_too_large", f"an inflated body may have {most} bytes")
    if not inflater.eof or inflater.unused_data:
        raise Refused(400, "bad_encoding", "the gzip body is cut off, or something follows it")
    return body


def fields_of(text: str) -> dict[str, str]:
    """What a query or a form says, in UTF-8; of a field that is repeated the last. Raises Refused."""
    try:
        found = dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS))
    except ValueError as error:
        raise Refused(400, "invalid_form", f"at most {MAX_PARAMETERS} fields, URL-encoded UTF-8") from error
    return found
