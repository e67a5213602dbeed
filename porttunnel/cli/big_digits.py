"""Digits as large as a screen has room for: people read them out across a table."""

from __future__ import annotations

__all__ = ["format_big"]

# Three dots wide, five high; a blank is twice as high as wide, so each dot takes two.
_SHAPES = {
    "0": ("###", "# #", "# #", "# #", "###"),
    "1": (" # ", "## ", " # ", " # ", "###"),
    "2": ("###", "  #", "###", "#  ", "###"),
    "3": ("###", "  #", "###", "  #", "###"),
    "4": ("# #", "# #", "###", "  #", "  #"),
    "5": ("###", "#  ", "###", "  #", "###"),
    "6": ("###", "#  ", "###", "# #", "###"),
    "7": ("###", "  #", "  #", "  #", "  #"),
    "8": ("###", "# #", "###", "# #", "###"),
    "9": ("###", "# #", "###", "  #", "###"),
    " ": ("  ", "  ", "  ", "  ", "  "),
}
_ROWS = 5


def format_big(digits: str) -> str:
    """Digits, and blanks between them, as lines of blocks.

    :param digits: such as ``123 456``.
    """
    rows = (" ".join(_SHAPES[digit][row] for digit in digits) for row in range(_ROWS))
    return "\n".join("".join("██" if dot == "#" else "  " for dot in row).rstrip() for row in rows)
