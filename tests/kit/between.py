"""Something between clients and the door, that sees what passes and can lose an answer."""

from typing import NamedTuple

import httpx

from tests.kit.serving import Handler, Server

#: Headers of one connection, and what is written anew.
_OWN = ("connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding")


class Seen(NamedTuple):
    """A request, and what the door answered."""

    method: str
    path: str
    status: int


class Between:
    """Passes everything on to `door`. Of so many answers the client hears nothing, and is told 503 instead."""

    def __init__(self, door: str, lost: int = 0) -> None:
        self.seen: list[Seen] = []
        seen = self.seen

        class Proxy(Handler):
            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name: self.headers[name] for name in self.headers if name.lower() not in _OWN}
                answer = httpx.request(
                    self.command, f"{door}{self.path}", content=body, headers=headers, trust_env=False, timeout=30
                )
                seen.append(Seen(self.command, self.path, answer.status_code))
                self.send_response(503 if len(seen) <= lost else answer.status_code)
                for name, value in answer.headers.items():
                    if name not in _OWN:
                        self.send_header(name, value)
                if len(seen) <= lost:
                    self.send_header("retry-after", "1")
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = do_OPTIONS = pass_on

        self._server = Server(Proxy)
        self.url = self._server.url

    def close(self) -> None:
        self._server.close()
