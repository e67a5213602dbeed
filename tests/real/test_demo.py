"""`porttunnel demo`, as the README's first command ends with it."""

from __future__ import annotations

import re
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.program import PORTTUNNEL, Start

pytestmark = pytest.mark.real

SHOWN = {
    "the wiki": b"The wiki sees you as <b>Anna</b>",
    "the web page": b"<h1>It works</h1>",
    "the server": b"porttunnel",
}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demo may make its folder; as short as users have it, for sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="pt-") as folder:
        yield Path(folder)


def test_checks_itself(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", "--check", environment={"TMPDIR": str(temporary)})
    assert demo.line("   Anna reads and changes pages through it")
    assert demo.line("   The page came through the tunnel unchanged")
    assert demo.wait() == 0
    assert demo.errors == ""
    assert list(temporary.iterdir()) == []


def test_stays_until_ctrl_c(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", environment={"TMPDIR": str(temporary)})
    pages = {name: demo.line(f"   {name} ").rpartition(" ")[2] for name in SHOWN}
    demo.line("Ctrl-C")
    for name, url in pages.items():
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert SHOWN[name] in answer.read()
    demo.interrupt()
    assert demo.line("Everything has been stopped")
    assert demo.wait() == 0
    assert demo.errors == ""
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_services_leave_ctrl_c_to_the_others(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", environment={"TMPDIR": str(temporary)})
    demo.line("Ctrl-C")
    left_to = {"server": False, "agent": False, "device": True, "share": True, "join": True}
    for path in Path("/proc", str(demo.pid), "task").glob("*/children"):
        for pid in path.read_text().split():
            command = Path("/proc", pid, "cmdline").read_text()
            (name,) = [each for each in left_to if re.search(rf"[-\0]{each}\0", command)]
            assert left_to.pop(name) is not _ignores_ctrl_c(Path("/proc", pid, "status"))
    assert left_to == {}
    demo.interrupt()
    assert demo.wait() == 0


def _ignores_ctrl_c(status: Path) -> bool:
    ignored = re.search(r"^SigIgn:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    assert ignored
    return bool(int(ignored[1], 16) >> (signal.SIGINT - 1) & 1)


def test_ends_by_itself(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", "--seconds", "0", environment={"TMPDIR": str(temporary)})
    assert demo.wait() == 0


def test_shows_commands_that_are_what_it_runs(start: Start, temporary: Path) -> None:
    demo = start(*PORTTUNNEL, "demo", "--check", environment={"TMPDIR": str(temporary)})
    assert demo.wait() == 0
    while demo.next_line() is not None:
        pass
    shown = [line for line in demo.seen if line.startswith("   $ ")]
    words = [line.split()[1:4] for line in shown]
    assert [word if "-n" in word else word[:2] for word in words] == [
        ["twistd", "-n", "porttunnel-server"],
        ["twistd", "-n", "porttunnel-agent"],
        ["porttunnel", "instance"],
        ["porttunnel", "device"],
        ["porttunnel", "device"],
        ["porttunnel", "share"],
        ["porttunnel", "join"],
    ]
    (code,) = [line for line in demo.seen if line.startswith("   code ")]
    assert re.fullmatch(r"   code \d{4} \d{4} \d{4}", code)
