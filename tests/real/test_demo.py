"""`porttunnel demo`, as the README's first command ends with it."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest

from tests.real.program import PORTTUNNEL, Start

pytestmark = pytest.mark.real


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo may make its folder."""
    found = tmp_path / "temporary"
    found.mkdir()
    return found


def test_checks_itself(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", "--check", environment={"TMPDIR": str(temporary)})
    assert demo.line("   The page came through the tunnel unchanged")
    assert demo.wait() == 0
    assert demo.errors == ""
    assert list(temporary.iterdir()) == []


def test_stays_until_ctrl_c(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", environment={"TMPDIR": str(temporary)})
    url = demo.line("5. ").rpartition(" ")[2]
    demo.line("Ctrl-C")
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert b"<h1>It works</h1>" in answer.read()
    demo.interrupt()
    assert demo.line("Everything has been stopped")
    assert demo.wait() == 0
    assert demo.errors == ""
    assert list(temporary.iterdir()) == []


def test_ends_by_itself(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", "--seconds", "0", environment={"TMPDIR": str(temporary)})
    assert demo.wait() == 0


def test_shows_commands_that_are_what_it_runs(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", "--check", environment={"TMPDIR": str(temporary)})
    assert demo.wait() == 0
    while demo.next_line() is not None:
        pass
    shown = [line for line in demo.seen if line.startswith("   $ ")]
    assert [line.split()[1:3] for line in shown] == [
        ["twistd", "porttunnel-server"],
        ["porttunnel", "share"],
        ["porttunnel", "join"],
    ]
    (code,) = [line for line in demo.seen if line.startswith("   code ")]
    assert re.fullmatch(r"   code \d{4} \d{4} \d{4}", code)
