"""The marked blocks of our Markdown, so that what the pages promise is run.

A fenced block right after ``<!-- test -->`` is run by tests/house/test_docs.py: ``sh`` as it
stands, ``console`` the lines after its ``$`` prompts (``>`` continues one), ``python`` by Python.
A block after ``<!-- command: NAME -->`` is a command with a name; ``.ci/run`` asks for one by::

    python3 -m tests.house.blocks README.md tests

Uses the standard library only: ``.ci/run`` calls it before anything is installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "find_blocks", "find_command"]

_BLOCK = re.compile(
    r"^<!-- (?P<mark>test|command: (?P<name>[a-z-]+)) -->\n+"
    r"^```(?P<language>[a-z]+)[^\n]*\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_ANY_MARK = re.compile(r"^<!-- (?:test|command:)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One marked block.

    :param line: of the mark, counted from 1.
    :param name: of the command, or an empty string for a block that is only tested.
    :param language: ``sh``, ``console`` or ``python``.
    :param source: what is run.
    """

    line: int
    name: str
    language: str
    source: str


def _typed_lines(body: str) -> str:
    """What a console block shows being typed, without what it shows being printed."""
    typed = [line[2:] for line in body.splitlines() if line.startswith(("$ ", "> "))]
    return "\n".join(typed) + "\n"


def find_blocks(text: str) -> Iterator[Block]:
    """Every marked block of a page.

    :raises ValueError: a mark that stands before no block, or a language that nobody runs.
    """
    found = 0
    for match in _BLOCK.finditer(text):
        found += 1
        language, body = match["language"], match["body"]
        if language not in {"sh", "console", "python"}:
            raise ValueError(f"nobody runs a block of {language}")
        yield Block(
            line=text.count("\n", 0, match.start()) + 1,
            name=match["name"] or "",
            language=language,
            source=_typed_lines(body) if language == "console" else body,
        )
    if found != len(_ANY_MARK.findall(text)):
        raise ValueError("a mark stands before no fenced block")


def find_command(text: str, name: str) -> str:
    """The one command of that name.

    :raises ValueError: there is none, or more than one.
    """
    (command,) = [block.source.strip() for block in find_blocks(text) if block.name == name]
    return command


if __name__ == "__main__":
    page, wanted = sys.argv[1:]
    print(find_command(Path(page).read_text(encoding="utf-8"), wanted))
