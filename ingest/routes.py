"""The map of the door: which path does what, and by which methods it may be asked."""

from collections.abc import Mapping
from typing import NamedTuple

from ingest.endpoints import posthog, segment
from ingest.endpoints.collect import collect, redirect
from ingest.endpoints.track import track
from ingest.intake import Handler
from ingest.libraries.segment import SHORT


class Route(NamedTuple):
    """What a path does, by which methods."""

    methods: tuple[str, ...]
    handle: Handler


_POST, _GET, _BOTH = ("POST",), ("GET",), ("GET", "POST")
_KINDS = {**{name: name for name in SHORT.values()}, **SHORT, "batch": "batch", "b": "batch", "import": "batch"}
#: PostHog's, with a slash at the end or without.
_CAPTURES = [path + end for path in ("/batch", "/capture", "/e", "/i/v0/e") for end in ("", "/")]
_FLAGS = [path + end for path in ("/decide", "/flags") for end in ("", "/")]

#: Paths as they are written.
ROUTES: Mapping[str, Route] = {
    "/track": Route(_POST, track),
    **{f"/v1/{path}": Route(_POST, segment.taking(kind)) for path, kind in _KINDS.items()},
    **{f"/{path}": Route(_POST, segment.taking(kind)) for path, kind in _KINDS.items() if len(path) == 1},
    "/beacon/v1/batch": Route(_POST, segment.taking("batch")),
    **{f"/pixel/v1/{kind}": Route(_GET, segment.pixel(kind)) for kind in ("track", "page")},
    **{f"/v1/pixel/{kind}": Route(_GET, segment.pixel(kind)) for kind in SHORT.values()},
    "/sourceConfig": Route(_GET, segment.source_config),
    "/sourceConfig/": Route(_GET, segment.source_config),
    **{path: Route(_POST, posthog.capture) for path in _CAPTURES},
    "/i/v1/analytics/events": Route(_POST, posthog.capture_each),
    **{path: Route(_BOTH, posthog.flags) for path in _FLAGS},
}
#: What paths begin with that name something.
FAMILIES: Mapping[str, Route] = {
    "/collect/": Route(_BOTH, collect),
    "/redirect/": Route(_GET, redirect),
    "/v1/projects/": Route(_GET, segment.settings),
}


def route_of(path: str) -> Route | None:
    """What a path does; None for nothing."""
    found = ROUTES.get(path)
    return found or next((route for begin, route in FAMILIES.items() if path.startswith(begin)), None)
