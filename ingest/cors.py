"""What browsers ask before they let a page send, and want to read in the answer (Fetch standard, CORS protocol)."""

import re

from ingest.refused import Refused
from ingest.replies import Headers, Reply
from ingest.request import Request
from workflows.definitions import Definitions

_HEADER_NAMES = re.compile(r"[a-zA-Z0-9, -]{1,500}")
#: How long a browser need not ask again, in seconds.
_MAX_AGE = "3600"


def is_allowed(origin: str, definitions: Definitions | None) -> bool:
    """Whether any source takes something from pages of this origin; which one does is known only later."""
    return definitions is not None and (definitions.origins is None or origin in definitions.origins)


def preflight(request: Request, methods: tuple[str, ...], definitions: Definitions) -> Reply:
    """The answer to what a browser asks first. Raises Refused."""
    if not is_allowed(request.header("origin"), definitions):
        raise Refused(403, "origin_denied", "nothing is taken from pages of this origin")
    wanted = request.header("access-control-request-headers")
    headers = [("access-control-allow-methods", ", ".join((*methods, "OPTIONS"))), ("access-control-max-age", _MAX_AGE)]
    if _HEADER_NAMES.fullmatch(wanted):
        headers.append(("access-control-allow-headers", wanted))
    return 204, headers, b""


def headers_for(origin: str) -> Headers:
    """What lets a page of this origin read the answer. Never with credentials: no cookie says who somebody is."""
    return [
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", "x-request-id, retry-after"),
        ("vary", "Origin"),
    ]
