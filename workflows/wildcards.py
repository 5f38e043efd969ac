"""Event types as definitions name them: one, all that begin so (`order-*`), or all (`*`)."""

from collections.abc import Iterable


def matches(patterns: Iterable[str], type: str) -> bool:
    """Whether any of them is about this type."""
    return any(type.startswith(one[:-1]) if one.endswith("*") else type == one for one in patterns)
