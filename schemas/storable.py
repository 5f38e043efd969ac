"""JSON that everybody behind us can hold: what PostgreSQL or another reader of JSON would stumble over is found here.

The classes of bad input are in docs/input.md. Nearly all JSON is read in one go, by a type that nothing odd fits; only
what does not fit is walked in Python.
"""

import math
import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas.failures import Reason
from schemas.limits import MAX_DEPTH, MAX_INTEGER, MAX_KEY_BYTES, MAX_KEYS

#: Levels of nesting that are read in one go. The type doubles with each.
_USUAL_DEPTH = 7


def _usual(key_chars: int) -> Any:
    """The type of JSON that is nested no deeper, and whose integers, keys and objects are small enough."""
    scalar: Any = str | Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)] | float | bool | None
    key: Any = Annotated[str, Meta(max_length=key_chars)]
    value = scalar
    for _ in range(_USUAL_DEPTH):
        value = scalar | Annotated[dict[key, value], Meta(max_length=MAX_KEYS)] | list[value]  # type: ignore[valid-type]
    return value


def _float(text: str) -> float:
    """Raises ValueError for what PostgreSQL refuses, be it that Python reads it as infinity or as zero."""
    value = float(text)
    if math.isinf(value) or _TINY_NUMBER.match(text):
        raise ValueError("out of range")
    return value


#: Where a character is a byte, and where it may be four.
_read_ascii = msgspec.json.Decoder(_usual(MAX_KEY_BYTES)).decode
_read_unicode = msgspec.json.Decoder(_usual(MAX_KEY_BYTES // 4)).decode
_read_anything = msgspec.json.Decoder().decode
_read_exactly = msgspec.json.Decoder(float_hook=_float).decode
#: Numbers so small, or with so many digits behind the point, that PostgreSQL refuses them.
_TINY_NUMBER = re.compile(r"[^e]*e-[0-9]{4}|[^.]*\.[0-9]{1000}", re.IGNORECASE)
#: What they have in them, as some texts do. A pattern a letter: one that begins with a certain letter is found fastest.
_SMALL_E, _CAPITAL_E = re.compile(rb"e-[0-9]{4}"), re.compile(rb"E-[0-9]{4}")
_LONG_FRACTION = re.compile(rb"\.[0-9]{1000}")
_NEVER_ODD = frozenset((float, bool, type(None)))


def parsed(raw: msgspec.Raw | bytes) -> tuple[Any, Reason | None]:
    """The JSON's value, and what PostgreSQL or another JSON reader would stumble over in it."""
    data = bytes(raw)
    escapes = b"\\" in data
    is_odd = _may_be_odd(data, escapes)
    if not is_odd:
        try:
            return (_read_ascii if data.isascii() and not escapes else _read_unicode)(data), None
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # or it is only unusual
    try:
        value = (_read_exactly if is_odd else _read_anything)(data)
    except RecursionError:
        return None, Reason("too_deep", "", f"JSON may nest {MAX_DEPTH} levels")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if "out of range" in str(error):
            return None, Reason("number_out_of_range", "", "a number is too large, or too finely divided, to store")
        return None, Reason("invalid_unicode", "", "a string holds half of a surrogate pair")
    return value, _walk(value, 0)


def _may_be_odd(data: bytes, escapes: bool) -> bool:
    """Cheap tests over the bytes, for what no type shows. May say yes too often, never no."""
    return (
        (escapes and b"\\u0000" in data)
        or _SMALL_E.search(data) is not None
        or _CAPITAL_E.search(data) is not None
        or (len(data) > 1000 and _LONG_FRACTION.search(data) is not None)
    )


def _walk(value: Any, depth: int) -> Reason | None:
    """What is odd in it; of several the first that was written."""
    if isinstance(value, str):
        return Reason("nul_character", "", "the character U+0000 cannot be stored") if "\0" in value else None
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        return Reason("number_out_of_range", "", "integers beyond 2^53 lose digits; send them as strings")
    if not isinstance(value, dict | list):
        return None
    if depth >= MAX_DEPTH:
        return Reason("too_deep", "", f"JSON may nest {MAX_DEPTH} levels")
    if isinstance(value, dict) and (problem := _problem_of_keys(value)):
        return problem
    for item in value.values() if isinstance(value, dict) else value:
        kind = type(item)
        if kind in _NEVER_ODD or (kind is str and "\0" not in item):
            continue
        if kind is int and -MAX_INTEGER <= item <= MAX_INTEGER:
            continue  # nearly all end here, without a call
        if problem := _walk(item, depth + 1):
            return problem
    return None


def _problem_of_keys(value: dict[str, Any]) -> Reason | None:
    if len(value) > MAX_KEYS:
        return Reason("too_many_keys", "", f"an object may have {MAX_KEYS} keys")
    if any(len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES for key in value):
        return Reason("key_too_long", "", f"a key may have {MAX_KEY_BYTES} bytes")
    if "\0" in "".join(value):
        return Reason("nul_character", "", "the character U+0000 cannot be stored")
    return None
