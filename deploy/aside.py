"""Small files that others read at any moment: whole, or as they were before."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Put this text in the file, which is its owner's alone from its first byte on. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process: two that write at a time must not mix theirs.
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    aside.touch(mode=0o600)
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
