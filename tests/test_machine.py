"""porttunnel/machine.py: the contract has exactly the verbs that docs/architecture explains."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from porttunnel.machine import Machine

ARCHITECTURE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"

VERBS = {
    "receive_data": ["data", "now"],
    "receive_eof": ["now"],
    "events": [],
    "data_to_send": [],
    "data_sent": ["count"],
    "limit_ahead": ["count"],
    "next_deadline": [],
    "handle_timeout": ["now"],
}


def declared() -> dict[str, list[str]]:
    functions = inspect.getmembers(Machine, inspect.isfunction)
    return {
        name: list(inspect.signature(function).parameters)[1:]
        for name, function in functions
        if not name.startswith("_")
    }


def test_the_verbs_and_their_arguments() -> None:
    assert declared() == VERBS


def test_every_verb_says_what_it_does() -> None:
    assert [name for name in declared() if not inspect.getdoc(getattr(Machine, name))] == []


def test_the_architecture_page_explains_each_verb() -> None:
    page = ARCHITECTURE.read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)\(", page, re.MULTILINE))
    assert explained == set(VERBS)
