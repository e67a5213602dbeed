"""How sizes, answers and words of others are written and read at a terminal."""

from __future__ import annotations

__all__ = ["format_bytes", "is_yes", "printable"]

_YES = frozenset(("y", "yes"))
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def format_bytes(count: int) -> str:
    """``512 B``, ``1.5 MiB``."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{count} {_UNITS[0]}"


def printable(words: str) -> str:
    """Words of the other side without what could move the cursor or forge a line."""
    return "".join(character if character.isprintable() else "?" for character in words)


def is_yes(line: str | None) -> bool:
    """Whether somebody typed a yes."""
    return line is not None and line.strip().lower() in _YES
