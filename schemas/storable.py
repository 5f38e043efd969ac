"""JSON that everybody behind us can hold: what PostgreSQL or another reader of JSON would stumble over is found here.

The classes of bad input are in docs/input.md. Most of them show in the bytes; only what does is walked in Python.
"""

import re
from typing import Any

import msgspec

from schemas.failures import Reason
from schemas.limits import MAX_DEPTH, MAX_INTEGER, MAX_KEY_BYTES, MAX_KEYS

_anything = msgspec.json.Decoder().decode
#: Every digit as 0, E as e: then `in` finds runs of digits at a tenth of a regular expression's cost.
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
#: Taken out on the way, so that their number is known: no run of digits has one inside.
_STRUCTURE = b"{[:"
_LONG_NUMBER, _TINY_EXPONENT = b"0" * 16, b"e-0000"
#: Numbers so small, or with so many digits behind the point, that PostgreSQL refuses what Python reads as 0.0.
_TINY_NUMBER = re.compile(rb"[\[:,]\s*-?[0-9]+(?:\.[0-9]*)?[eE]-[0-9]{4,}")
_LONG_FRACTION = re.compile(rb"[\[:,]\s*-?[0-9]+\.[0-9]{1000}")
_COLON = re.compile(rb"\s*:")


def parsed(raw: msgspec.Raw | bytes, is_plain: bool = False) -> tuple[Any, Reason | None]:
    """The JSON's value, and what PostgreSQL or another JSON reader would stumble over in it. `is_plain`: its bytes were
    looked at, as part of what `deserves_a_look` was asked about."""
    data = bytes(raw)
    try:
        value = _anything(data)
    except RecursionError:
        return None, Reason("too_deep", "", f"JSON may nest {MAX_DEPTH} levels")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if "out of range" in str(error):
            return None, Reason("number_out_of_range", "", "a number is too large to store")
        return None, Reason("invalid_unicode", "", "a string holds half of a surrogate pair")
    if is_plain or not deserves_a_look(data):
        return value, None
    digits = data.translate(_DIGITS)
    if (_TINY_EXPONENT in digits and _TINY_NUMBER.search(data)) or (
        _LONG_NUMBER in digits and _LONG_FRACTION.search(data)
    ):
        return None, Reason("number_out_of_range", "", "a number has too many digits behind the point to store")
    return value, _walk(value, 0)


def deserves_a_look(data: bytes) -> bool:
    """Cheap tests over the bytes, so that nearly no JSON is walked in Python. May say yes too often, never no; where it
    says no of something, it says no of each part of it."""
    digits = data.translate(_DIGITS, _STRUCTURE)
    return _LONG_NUMBER in digits or _TINY_EXPONENT in digits or _deserves_a_walk(data, len(data) - len(digits))


def _deserves_a_walk(data: bytes, structure: int) -> bool:
    return (
        (structure > MAX_DEPTH and data.count(b"{") + data.count(b"[") > MAX_DEPTH)
        or (structure > MAX_KEYS and data.count(b":") > MAX_KEYS)
        or _has_long_key(data)
        # One byte is found fastest. For _has_long_key an escaped quote ends a key: a long one could hide behind some.
        or (b"\\" in data and (b"\\u0000" in data or (b'\\"' in data and len(data) > MAX_KEY_BYTES)))
    )


def _has_long_key(data: bytes) -> bool:
    """Whether a colon follows more bytes than a key may have between two quotes. Looks at few of the quotes: half of
    what a regular expression costs, which looks at every byte."""
    at, last = 0, len(data) - MAX_KEY_BYTES
    while at < last:
        quote = data.rfind(b'"', at, at + MAX_KEY_BYTES + 1)
        if quote < 0 and ((quote := data.find(b'"', at)) < 0 or _COLON.match(data, quote + 1)):
            return quote >= 0
        at = quote + 1
    return False


def _walk(value: Any, depth: int) -> Reason | None:
    if depth >= MAX_DEPTH and isinstance(value, dict | list):
        return Reason("too_deep", "", f"JSON may nest {MAX_DEPTH} levels")
    if isinstance(value, str):
        return Reason("nul_character", "", "the character U+0000 cannot be stored") if "\0" in value else None
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        return Reason("number_out_of_range", "", "integers beyond 2^53 lose digits; send them as strings")
    if isinstance(value, dict):
        return _problem_of_keys(value) or _walk(list(value.values()), depth)
    if isinstance(value, list):
        return next((problem for item in value if (problem := _walk(item, depth + 1))), None)
    return None


def _problem_of_keys(value: dict[str, Any]) -> Reason | None:
    if len(value) > MAX_KEYS:
        return Reason("too_many_keys", "", f"an object may have {MAX_KEYS} keys")
    if any(len(key.encode()) > MAX_KEY_BYTES for key in value):
        return Reason("key_too_long", "", f"a key may have {MAX_KEY_BYTES} bytes")
    if any("\0" in key for key in value):
        return Reason("nul_character", "", "the character U+0000 cannot be stored")
    return None
