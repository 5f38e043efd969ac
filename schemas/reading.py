"""JSON as a whole, read once and strictly: what cannot be read has one of the codes of docs/input.md."""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")
#: How msgspec ends what it says of bytes that are no JSON.
_BYTE = re.compile(r"\(byte (\d+)\)")


class PayloadError(ValueError):
    """The payload as a whole cannot be read. `code` is one of docs/input.md's; `byte`, where it ceases to be JSON."""

    def __init__(self, code: str, byte: str = "") -> None:
        super().__init__(code)
        self.code, self.byte = code, byte


def read_json(decode: Callable[[bytes], T], body: bytes) -> T:
    """What a decoder of ours makes of a body (JSON, UTF-8). Raises PayloadError."""
    try:
        if not body.isascii():
            body.decode()
        return decode(body)
    except UnicodeDecodeError as error:
        raise PayloadError("invalid_encoding") from error
    except RecursionError as error:
        raise PayloadError("too_deep") from error
    except msgspec.ValidationError as error:
        raise PayloadError(_code_of(str(error))) from error
    except msgspec.DecodeError as error:
        byte = _BYTE.search(str(error))
        raise PayloadError("invalid_json" if body.strip() else "empty_body", byte[1] if byte else "") from error


def _code_of(message: str) -> str:
    if "out of range" in message:
        return "number_out_of_range"
    return "empty_batch" if "$.events" in message or "$.batch" in message else "not_an_object"
