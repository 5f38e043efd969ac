"""The values of identifiers: where they lie, the one form that they have, and what never identifies anybody."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
import phonenumbers

from schemas.limits import MAX_IDENTIFIER_CHARS

#: Values that programs send where they have none. Compared lower-cased and trimmed; such a value never links anybody.
JUNK = frozenset(
    [
        *("", "0", "-1", "null", "nil", "none", "undefined", "nan", "n/a", "na", "unknown", "anonymous", "guest"),
        *("true", "false", "[object object]", "{}", "[]", "test", "00000000-0000-0000-0000-000000000000"),
        *("not set", "(not set)", "not_set", "id", "user", "user_id", "userid", "distinct_id", "email"),
    ]
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")


#: Before the keyed hash of a property that somebody has not agreed to: it tells equal values, and identifies nobody.
HASHED = "hashed:"
_HASHED = re.compile(r"hashed:[0-9a-f]{32}")


def is_hashed(value: Any) -> bool:
    """Whether this is what consent has left of a value."""
    return isinstance(value, str) and _HASHED.fullmatch(value) is not None


def may_hold(part: msgspec.Raw, name: str) -> bool:
    """Whether JSON may have a field of this name somewhere: far cheaper than to read it."""
    written = bytes(part)
    return _in_quotes(name) in written or b"\\" in written  # an escape may spell anything


@lru_cache(1000)
def _in_quotes(name: str) -> bytes:
    return msgspec.json.encode(name)


def value_at(properties: Any, path: str) -> Any:
    """What lies at a dotted path (`customer.id`), None where nothing does."""
    for name in path.split("."):
        if not isinstance(properties, dict):
            return None
        properties = properties.get(name)
    return properties


def identifier_value(value: Any, normalise: str = "trim", region: str | None = None) -> str | None:
    """The one form of an identifier's value, None where it identifies nobody (missing, junk, not text or number)."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    if is_hashed(text):
        return None
    if text.lower() in JUNK or len(text) > MAX_IDENTIFIER_CHARS or not text.isprintable():
        return None
    found = _FORMS[normalise](text, region)
    return None if found is None or found.strip("+") in JUNK else found


def _email(text: str, region: str | None) -> str | None:
    text = text.lower().rstrip(".")
    return text if _EMAIL.fullmatch(text) else None


@lru_cache(10_000)
def _phone(text: str, region: str | None) -> str | None:
    """E.164. Numbers without a country's prefix are the region's; without a region they identify nobody."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


_FORMS: dict[str, Callable[[str, str | None], str | None]] = {
    "trim": lambda text, region: text,
    "lower": lambda text, region: text.lower(),
    "digits": lambda text, region: re.sub(r"[^0-9+]", "", text),
    "email": _email,
    "phone": _phone,
}
