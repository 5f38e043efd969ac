"""Who may send: write keys, origins, signatures, rates. What a source's definition says, before anything is written."""

import time
from binascii import Error, a2b_base64
from collections.abc import Callable, Collection, Hashable, Mapping, Set
from hashlib import sha256

from ingest.rates import Rates
from ingest.refused import Refused
from ingest.request import Request
from schemas.definitions.inbound import Rate, Source
from schemas.definitions.secret import Secret
from workflows.clients import sender_of
from workflows.definitions import Definitions
from workflows.signatures import is_signed
from workflows.sources import source_reasons

#: HTTP status of what is refused for its source.
_STATUS = {"no_source": 401, "unknown_source": 401, "source_disabled": 404, "bridge_not_allowed": 403}
#: Where a query may have a write key.
_IN_QUERY = ("writeKey", "write_key", "api_key", "token")
MAX_KEY_CHARS = 200
_NO_KEYS: Set[str] = frozenset()


class Access:
    """Judges requests. `reveal` opens a secret of a definition."""

    def __init__(self, reveal: Callable[[Secret], str]) -> None:
        self._reveal, self._rates = reveal, Rates()

    def source(self, named: str | None, keys: Collection[str], definitions: Definitions) -> Source:
        """The source of a request that names it, or shows write keys of it, or both. Raises Refused."""
        if not keys and (source := definitions.sources.get(named or "")) is not None and not source.requires_key:
            return source
        known = {_of_key(key, definitions) for key in keys} | {named}
        found = [definitions.sources[one] for one in known if one in definitions.sources]
        if len(found) > 1:
            raise Refused(400, "mixed_sources", "a request is of one source; its parts name several")
        source = found[0] if found and named in (None, found[0].id) else None
        if source is None:
            code = "no_source" if named is None and not keys else "unknown_source" if named else "invalid_write_key"
            raise Refused(401, code, "name a defined source, or show a write key of one")
        if source.requires_key and not any(_hashed_in(key, definitions) == source.id for key in keys):
            raise Refused(401, "invalid_write_key", "this source wants a write key")
        return source

    def admit(self, request: Request, source: Source, bridge: str, definitions: Definitions) -> None:
        """Whether the source may send so, from this page, signed like this. Raises Refused."""
        if not source.enabled or bridge not in source.bridges:
            [reason] = source_reasons(source.id, definitions, bridge)
            raise Refused(_STATUS[reason.code], reason.code, reason.message)
        if source.origins and (origin := request.header("origin")) and origin not in source.origins:
            raise Refused(403, "origin_denied", "this source takes nothing from pages of this origin")
        # Of a GET all is in the query, which no signature is of; what a link makes, its definition says.
        wants_signature = source.signing and bridge != "redirect"
        if wants_signature and (request.method != "POST" or not self._is_signed(request, source)):
            raise Refused(401, "bad_signature", "sign id, time and body as Standard Webhooks do; clocks within minutes")

    def spend(self, request: Request, source: Source, events: int) -> None:
        """Count so many events against the rates of a source that has some. Raises Refused where they are used up."""
        address = (source.id, sender_of(request.address))
        rates: list[tuple[Hashable, Rate | None]] = [(address, source.rate_per_address), (source.id, source.rate)]
        limited = {who: rate for who, rate in rates if rate is not None}
        if wait := self._rates.take(limited, events, time.monotonic()):
            raise Refused(429, "rate_limited", "too many events; send again later, with the same ids", wait)

    def _is_signed(self, request: Request, source: Source) -> bool:
        id, timestamp, signatures = (request.header(f"webhook-{name}") for name in ("id", "timestamp", "signature"))
        secrets = map(self._reveal, source.signing)
        return is_signed(id, timestamp, signatures, request.sent, secrets, time.time())


def without_keys(fields: Mapping[str, str], definitions: Definitions) -> dict[str, str]:
    """What a query says beside a write key: that is not to be kept."""
    return {name: value for name, value in fields.items() if not (name in _IN_QUERY and _hashed_in(value, definitions))}


def keys_of(request: Request) -> Set[str]:
    """The write keys in a request's head and query. Raises Refused."""
    query, authorization = request.query, request.header("authorization")
    if not query and not authorization:
        return _NO_KEYS
    found = {query[name] for name in _IN_QUERY if query.get(name)} if query else set()
    if not authorization:
        return found
    kind, _, rest = authorization.partition(" ")
    if kind.lower() == "bearer":
        found.add(rest.strip())
    elif kind.lower() == "basic":
        found.add(_user_of(rest.strip()))
    return found


def _user_of(credentials: str) -> str:
    """The user's name of basic credentials: where libraries write the key."""
    try:
        return a2b_base64(credentials, strict_mode=True).decode().partition(":")[0]
    except (Error, ValueError):
        return ""


def _of_key(key: str, definitions: Definitions) -> str | None:
    """The source of a write key; a source's own id is one too."""
    if len(key) > MAX_KEY_CHARS:
        return None
    return _hashed_in(key, definitions) or (key if key in definitions.sources else None)


def _hashed_in(key: str, definitions: Definitions) -> str | None:
    """The source that a write key was made for."""
    return definitions.write_keys.get(sha256(key.encode("utf-8", "replace")).hexdigest())
