"""Answers as JSON."""

from typing import Any

import msgspec

Headers = list[tuple[str, str]]
#: Status, headers, body.
Reply = tuple[int, Headers, bytes]

JSON: Headers = [
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
]
_encode = msgspec.json.Encoder().encode


def reply(status: int, said: Any, headers: Headers = JSON) -> Reply:
    """An answer that says so."""
    return status, headers, _encode(said)


def problem(code: str, message: str, request_id: str) -> dict[str, Any]:
    """The body of an error: never what was sent. Libraries of Segment and RudderStack read code and message outside."""
    said = {"code": code, "message": message}
    return {"error": {**said, "request_id": request_id}, **said}
