"""What the door says no with."""


class Refused(Exception):
    """The request is not taken at all; nothing of it is written. `code` is one of docs/input.md's."""

    def __init__(
        self, status: int, code: str, message: str, retry_after_s: int = 0, allow: tuple[str, ...] = ()
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message
        # Where it is not certain what the rest of the connection is, nothing of it is read.
        self.headers = [("connection", "close")] if code in ("invalid_header", "incomplete_body") else []
        if retry_after_s:
            self.headers.append(("retry-after", str(retry_after_s)))
        if allow:
            self.headers.append(("allow", ", ".join(allow)))
