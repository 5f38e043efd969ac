"""A page to try the tracking script on, for as long as the demo runs."""

import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PAGE = Path(__file__).parent / "examples" / "shop" / "try.html"


class _Page(BaseHTTPRequestHandler):
    """Whatever is asked for, it is the page."""

    def __init__(self, page: bytes, *given: object) -> None:
        self._page = page
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self._page)

    def log_message(self, format: str, *given: object) -> None:
        """Nothing: the demo's own lines are enough."""


def serve_try_page(host: str, door: str) -> tuple[str, ThreadingHTTPServer]:
    """Where it is, and what serves it until it is shut down."""
    page = _PAGE.read_text(encoding="utf-8").replace("DOOR", door).encode()
    server = ThreadingHTTPServer((host, 0), partial(_Page, page))
    threading.Thread(target=server.serve_forever, name="try-page", daemon=True).start()
    return f"http://{host}:{server.server_port}/", server
