"""What services say on standard output."""

from __future__ import annotations

import io
import os
import sys

import pytest
from twisted.logger import capturedLogs

from porttunnel.services.listener import print_line


def test_a_line_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    print_line("listening tcp:4663")
    assert capfd.readouterr().out == "listening tcp:4663\n"


def test_who_reads_no_more_lines_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # Without a buffer, which would be written once more when it is closed.
    with io.TextIOWrapper(io.FileIO(writing, "w"), write_through=True) as output:
        monkeypatch.setattr(sys, "__stdout__", output)
        with capturedLogs() as logged:
            print_line("listening tcp:4663")
    assert [event["line"] for event in logged] == ["listening tcp:4663"]
